"""How long predictions take, and ways to run a model beside each other: `python -m bench.speed`."""

import argparse
import dataclasses
import itertools
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import provenance, records
from models import card, probe, registry, runners
from models.image import Images

logger = logging.getLogger(__name__)

MINIMUM_REPEATS = 10
REPEATS, LEAST = 20, 3  # timed passes of each runner: at most, and at least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall time of one forward pass with a batch of one.

    Attributes:
        latency_ms: Median.
        fast_ms: 10th percentile.
        slow_ms: 90th percentile.
        repeats: Timed passes.
        threads: CPU threads of torch.
        device: Name of the device.
    """

    latency_ms: float
    fast_ms: float
    slow_ms: float
    repeats: int
    threads: int
    device: str


def measure(
    model: Callable[[Images], Images], *, size: int = 256, device: str = "cpu", repeats: int = 20, warm_up: int = 3
) -> Timing:
    """Time a model on a random picture that lies on the device already.

    Args:
        model: In eval mode, on the device.
        size: Height and width, in pixels.
        device: Where it runs.
        repeats: Timed passes, at least 10.
        warm_up: Passes before them.

    Raises:
        ValueError: Fewer than 10 repeats.
    """
    if repeats < MINIMUM_REPEATS:
        raise ValueError(f"{repeats} repeats; a median needs at least {MINIMUM_REPEATS}")
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = images.to(device)
    with torch.inference_mode():
        times = [_time(model, images) for _ in range(warm_up + repeats)][warm_up:]
    fast, median, slow = np.percentile(times, [10, 50, 90])
    name = torch.cuda.get_device_name(device) if images.is_cuda else device
    return Timing(
        latency_ms=float(median),
        fast_ms=float(fast),
        slow_ms=float(slow),
        repeats=repeats,
        threads=torch.get_num_threads(),
        device=name,
    )


def _time(model: Callable[[torch.Tensor], Images], images: torch.Tensor) -> float:
    _wait(images)
    start = time.perf_counter()
    model(images)
    _wait(images)
    return (time.perf_counter() - start) * 1000


def _wait(images: torch.Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One way to run one model, at one size.

    Attributes:
        model: Name of the card.
        runner: A name in `RUNNERS`.
        side: Of the prediction, in pixels.
        batch: Images at once.
        latency_ms: Median wall time of a batch; None where it was not timed.
        images_per_second: Batch divided by latency.
        peak_mib: Memory above what the process held before; None where the system does not tell.
        warm_up_ms: Time of the first call, with compiling where the runner does that.
        faster: How many times faster than eager, median of pairs in turn; 1 for eager itself.
        difference: Largest difference from eager's images, in [0, 2].
        note: Why there is no time.
    """

    model: str
    runner: str
    side: int
    batch: int
    latency_ms: float | None = None
    images_per_second: float | None = None
    peak_mib: float | None = None
    warm_up_ms: float | None = None
    faster: float | None = None
    difference: float | None = None
    note: str = ""


def onnx(model: registry.Model) -> registry.Model:
    """Export a model and let ONNX Runtime run it."""
    from models import export

    return registry.Model(model.card, runners.Graph(export.trace(model).SerializeToString()))


RUNNERS = {**runners.RUNNERS, "onnx": onnx}


def compare(name: str, *, side: int, batch: int, names: Sequence[str], limit_s: float = 30.0) -> list[Cell]:
    """Time ways to run a model, in turns, so that a drifting machine hits all alike.

    Args:
        name: A card; without a checkpoint its weights are random, which changes no time.
        side: Of the prediction, in pixels; generators have their own.
        batch: Images at once.
        names: Of `RUNNERS`; eager always comes first.
        limit_s: No more passes are begun after so many seconds, and none at all where one takes longer.

    Returns:
        One cell per runner.
    """
    entry = registry.CARDS[name]
    given = probe.inputs(entry, side=side, count=batch)
    order = ("eager", *(each for each in names if each != "eager"))
    reference = torch.empty(0)
    ready: dict[str, registry.Model] = {}
    cells: dict[str, Cell] = {}
    for runner in order:
        cells[runner] = Cell(model=name, runner=runner, side=side, batch=batch)
        try:
            ready[runner] = RUNNERS[runner](_fresh(name))
            peak, start = Peak(), time.perf_counter()
            with torch.inference_mode():
                first = ready[runner](*given)
        except (registry.CheckpointError, ImportError) as error:
            ready.pop(runner, None)
            cells[runner] = dataclasses.replace(cells[runner], note=str(error))
            continue
        spent = time.perf_counter() - start
        reference = first if runner == "eager" else reference
        cells[runner] = dataclasses.replace(
            cells[runner],
            warm_up_ms=1000 * spent,
            peak_mib=peak.mib(),
            difference=float((first - reference).abs().max()),
            note=f"one pass takes {spent:.0f} s" if spent > limit_s else "",
        )
        if spent > limit_s:
            del ready[runner]
    return _timed(cells, ready, given, limit_s=limit_s)


def _timed(
    cells: dict[str, Cell], ready: dict[str, registry.Model], given: tuple[torch.Tensor, ...], *, limit_s: float
) -> list[Cell]:
    """Run the runners in turns until there are enough passes or the time is up."""
    rounds: list[dict[str, float]] = []
    until = time.perf_counter() + limit_s
    with torch.inference_mode():
        while ready and len(rounds) < REPEATS and (time.perf_counter() < until or len(rounds) < LEAST):
            rounds.append(
                {runner: _time(lambda x, m=model: m(x, *given[1:]), given[0]) for runner, model in ready.items()}
            )
    for runner in ready:
        median = float(np.median([each[runner] for each in rounds]))
        cells[runner] = dataclasses.replace(
            cells[runner],
            latency_ms=median,
            images_per_second=1000 * cells[runner].batch / median,
            faster=float(np.median([each["eager"] / each[runner] for each in rounds])) if "eager" in ready else None,
        )
    return list(cells.values())


def _fresh(name: str) -> registry.Model:
    """A model of its own, so that no runner changes another's."""
    entry = registry.CARDS[name]
    if entry.checkpoint is not None:
        return registry.load(name)
    torch.manual_seed(0)
    return registry.Model(entry, entry.build()).eval()


class Peak:
    """The most memory that the process holds from now on; Linux tells and forgets it on demand."""

    def __init__(self) -> None:
        self.before = self._reset()

    def _reset(self) -> float | None:
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return None
        return self._read("VmRSS")

    def _read(self, field: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(field))) / 1024

    def mib(self) -> float | None:
        """Give the peak above what was held at first."""
        return None if self.before is None else max(0.0, self._read("VmHWM") - self.before)


COLUMNS = (
    "model",
    "parameters",
    "multiply-adds, G",
    "runner",
    "px",
    "batch",
    "ms",
    "images/s",
    "peak MiB",
    "faster",
    "difference",
)


def row(cell: Cell) -> tuple[str, ...]:
    """Give a cell's row of the table."""
    entry = next(each for each in card.catalogue() if each.name == cell.model)
    growth = 1 if entry.task == "generate" else (cell.side / 256) ** 2
    work = "-" if entry.multiply_adds is None else f"{entry.multiply_adds * growth / 1e9:,.2f}"
    numbers = (
        (cell.latency_ms, "{:,.1f}"),
        (cell.images_per_second, "{:,.2f}"),
        (cell.peak_mib, "{:,.0f}"),
        (cell.faster, "{:.2f}x"),
        (cell.difference, "{:.0e}"),
    )
    filled = [form.format(value) if value is not None else "-" for value, form in numbers]
    head = (cell.model, f"{entry.parameters:,}", work, cell.runner, str(cell.side), str(cell.batch))
    return (*head, cell.note or filled[0], *filled[1:])


PAGE = """# Speed

Made by `python -m bench.speed --runners eager fast onnx --out {source} --page {page}`: forward passes alone, after a
first one. Milliseconds are the median time of a batch; where one pass took too long to repeat, words say so. "px" is
the side of what is made, "G" thousands of millions, "peak" what the process took above what it held before, "faster"
the median ratio to eager torch in turns with it, "difference" the largest from its images, in [0, 2].
"""


def page(kept: Sequence[dict[str, Any]]) -> str:
    """Lay out kept results: a table per device, in the order of the catalogue; the last of equal cells counts."""
    names = [entry.name for entry in card.catalogue()]
    fields = {field.name for field in dataclasses.fields(Cell)}
    tables: dict[str, dict[tuple[int, int, int, int], Cell]] = {}
    for record in kept:
        cell = Cell(**{key: value for key, value in record.items() if key in fields})
        if cell.model in names:
            place = (names.index(cell.model), cell.side, cell.batch, [*RUNNERS].index(cell.runner))
            tables.setdefault(record["device"], {})[place] = cell
    return "".join(
        f"\n{heading(device)}" + "".join(line(cells[place]) for place in sorted(cells))
        for device, cells in tables.items()
    )


def heading(device: str) -> str:
    """Begin a table."""
    return f"{device}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"


def line(cell: Cell) -> str:
    """Write a cell's line of a table."""
    return f"| {' | '.join(row(cell))} |\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Time models: `python -m bench.speed [NAME ...] --runners eager fast onnx`."""
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description="Time models on this machine's CPU.")
    parser.add_argument("names", nargs="*", help="cards (default: all)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512], help="sides of the predictions, in pixels")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=["eager"])
    parser.add_argument("--limit", type=float, default=30.0, help="seconds per model, size and batch")
    parser.add_argument("--out", type=Path, help="file of JSON lines to add the results to")
    parser.add_argument("--page", type=Path, help="page to write with all results of that file")
    options = parser.parse_args(arguments)
    if options.page and not options.out:
        parser.error("--page shows what --out keeps: give both.")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        chosen = [registry.find(name) for name in options.names] or list(registry.CARDS.values())
    except card.UnknownModel as error:
        logger.error("%s", error)
        return 2
    where = f"{provenance.describe_device('cpu')}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    sys.stdout.write(heading(where))
    for entry in chosen:
        sizes = options.sizes[:1] if entry.task == "generate" else options.sizes
        for side, batch in itertools.product(sizes, options.batches):
            cells = compare(entry.name, side=side, batch=batch, names=options.runners, limit_s=options.limit)
            sys.stdout.write("".join(line(cell) for cell in cells))
            sys.stdout.flush()
            if options.out:
                records.append_jsonl(options.out, [dataclasses.asdict(cell) | {"device": where} for cell in cells])
    if options.page:
        head = PAGE.format(source=options.out.name, page=options.page.name)
        text = head + page([*records.read_jsonl(options.out)])
        options.page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
