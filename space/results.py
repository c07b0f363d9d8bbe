"""The standings of the study that this server runs, made anew when ratings came in. Needs no torch.

NIJIGEN_SIMULATED names a file of simulated ratings (`python -m space.study simulate`) that is shown instead, and marked
so, to see the page before people have rated.
"""

import functools
import os
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from bench import accuracy, records
from space import command, host, lookup, store

VALUES = "values.jsonl"
SCORES = Path(__file__).parents[1] / "bench" / "results" / "scores.jsonl"


class Results:
    """Remembers the standings until another rating is stored.

    Where the study's folder holds the benchmark's `values.jsonl` of its photos, metrics are compared pair by pair too.

    Args:
        studies: Holds the study.
        scores: File of the benchmark's scores.
    """

    def __init__(self, studies: host.Host, scores: Path = SCORES) -> None:
        self.studies, self.scores = studies, scores
        self._lock = threading.Lock()
        self._known: tuple[int, dict[str, Any]] | None = None

    def document(self) -> dict[str, Any] | None:
        """Give the standings; None while no study runs."""
        if simulated := os.environ.get("NIJIGEN_SIMULATED"):
            return _simulated(simulated, self.scores)
        running = self.studies.find()
        if running is None:
            return None
        with self._lock, running.store.read() as connection:
            last = connection.execute(sql.select(sql.func.max(store.EVENTS.c.sequence))).scalar() or 0
            if self._known is None or self._known[0] != last:
                own = [each for each in store.ratings(connection) if each.protocol == running.limits.protocol]
                shared = lookup.sharing(connection, running.limits)
                values = accuracy.read_values(self.studies.folder / VALUES) if self.studies.folder else None
                document = command.rank(own, records.read_scores(self.scores), values=values, shared=shared)
                self._known = last, document
        return self._known[1]


@functools.lru_cache(maxsize=1)
def _simulated(path: str, scores: Path) -> dict[str, Any]:
    """Rank a file of simulated ratings.

    Raises:
        RecordError: Its ratings are real: those belong in a database.
    """
    given = command.read(path)
    if not all(rating.simulated for rating in given):
        raise records.RecordError(f"{path} holds ratings of people; NIJIGEN_SIMULATED shows simulated ones only.")
    return command.rank(given, records.read_scores(scores))
