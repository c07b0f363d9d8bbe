"""The study that this server runs: the operator's, or a pilot on the example portraits, which needs torch."""

import dataclasses
import logging
import os
import threading
from pathlib import Path

from bench import provenance, records
from space import arena, convert, export, gallery, rules, stimuli, store, study

logger = logging.getLogger(__name__)

STATE = Path(os.environ.get("NIJIGEN_STATE", Path(__file__).parents[1] / "state"))


@dataclasses.dataclass
class Host:
    """Opens the study in the background and closes it with the server.

    Attributes:
        folder: The operator's study; None for the pilot.
        url: Database of the ratings.
        running: The study, once it can be taken part in.
        ring: Two models on a visitor's own photo, beside the study.
        opening: The thread that opens it, once it was asked for.
        repository: Dataset on the Hub that keeps the ratings, "owner/name"; empty for none.
        exported: The parts on the local disk.
        dataset: Pushes them.
    """

    folder: Path | None
    url: str
    running: study.Study | None = None
    ring: arena.Arena | None = None
    opening: threading.Thread | None = None
    repository: str = ""
    exported: export.Export | None = None
    dataset: export.HubDataset | None = None

    @property
    def protocol(self) -> str:
        """Name of the protocol, known before the study runs."""
        if self.running is not None:
            return self.running.limits.protocol
        return (rules.PILOT if self.folder is None else rules.STUDY).protocol

    def find(self) -> study.Study | None:
        """Give the study that runs, or None."""
        return self.running

    def start(self) -> None:
        """Open the study in the background, once; a failure is logged, and the rest of the app goes on.

        A pilot's pictures take a minute of both processors, so it waits for the first participant.
        """
        if self.opening is None:
            self.opening = threading.Thread(target=self._open, name="study", daemon=True)
            self.opening.start()

    def close(self) -> None:
        """Finish what is being written, export it, and push it once more."""
        if self.running is None or self.exported is None:
            return
        self.exported.sync()
        if self.dataset is not None:
            self.dataset.flush()
        self.running.store.close()

    def _open(self) -> None:
        try:
            pictures = stimuli.load(self.folder) if self.folder else _pilot()
            kept, folder = store.Store(self.url), STATE / "exports" / pictures.limits.protocol
            if self.repository:
                export.fetch(self.repository, folder)
                export.restore(kept, folder)
            self.exported = export.Export(kept, folder)
            if self.repository:
                self.dataset = export.HubDataset(self.exported, self.repository)
            self.ring = arena.Arena(kept, git_commit=provenance.git_commit())
            self.running = study.Study(
                pictures,
                kept,
                seed=int(os.environ.get("NIJIGEN_SEED", "0")),
                git_commit=provenance.git_commit(),
                secret=os.environ.get("NIJIGEN_SECRET", ""),
            )
            logger.info("%s runs: %d photos, %d models.", self.protocol, len(pictures.photos), len(pictures.models))
        except records.RecordError as error:
            logger.error("There is nothing to rate: %s", error)
        except Exception:
            logger.exception("The study could not be opened.")


def from_environment() -> Host:
    """Read NIJIGEN_STUDY (a folder of `space.develop`), DATABASE_URL and NIJIGEN_RATINGS (a dataset on the Hub)."""
    folder = os.environ.get("NIJIGEN_STUDY")
    name = "study" if folder else "pilot"
    return Host(
        folder=Path(folder) if folder else None,
        url=os.environ.get("DATABASE_URL") or f"sqlite:///{STATE / name}.sqlite3",
        repository=os.environ.get("NIJIGEN_RATINGS", ""),
    )


def _pilot() -> stimuli.Stimuli:
    """Make the pilot's pictures of the example portraits, once the models are there."""
    convert.READY.wait()
    from space import develop

    photos = STATE / "pilot" / "examples"
    photos.mkdir(parents=True, exist_ok=True)
    wanted = {f"{example.name}.png": example for example in gallery.examples()}
    for stale in {path.name for path in photos.iterdir()} - set(wanted):
        (photos / stale).unlink()
    for name, example in wanted.items():
        content = gallery.png(example)
        if not (photos / name).is_file() or (photos / name).read_bytes() != content:
            records.write_atomic(photos / name, content)
    return develop.develop(photos, STATE / "pilot", limits=rules.PILOT)
