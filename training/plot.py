"""The loss plot of a run."""

import json
from pathlib import Path


def losses(log: Path, target: Path) -> None:
    """Draw every logged term over the steps, one panel per phase, on a logarithmic axis.

    Args:
        log: JSON lines of a run; nothing is drawn where it is missing or empty.
        target: PNG to write.
    """
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
    phases = sorted({key for line in lines for key, value in line.items() if isinstance(value, dict)})
    if not phases:
        return
    figure = Figure(figsize=(10, 3.4 * len(phases)), layout="constrained")
    for panel, phase in zip(figure.subplots(len(phases), 1, squeeze=False)[:, 0], phases, strict=True):
        shown = [line for line in lines if phase in line]
        for term in shown[0][phase]:
            panel.plot(
                [line["step"] for line in shown], [max(line[phase][term], 1e-8) for line in shown], label=term, lw=1
            )
        panel.set(title=phase, xlabel="step", ylabel="weighted loss", yscale="log")
        panel.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(target, dpi=80)
