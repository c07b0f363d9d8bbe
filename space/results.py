"""The standings of the study that this server runs, made anew when ratings came in. Needs no torch."""

import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from bench import records
from space import command, host, lookup, store

SCORES = Path(__file__).parents[1] / "bench" / "results" / "scores.jsonl"


class Results:
    """Remembers the standings until another rating is stored.

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
        running = self.studies.find()
        if running is None:
            return None
        with self._lock, running.store.read() as connection:
            last = connection.execute(sql.select(sql.func.max(store.EVENTS.c.sequence))).scalar() or 0
            if self._known is None or self._known[0] != last:
                own = [each for each in store.ratings(connection) if each.protocol == running.limits.protocol]
                shared = lookup.sharing(connection, running.limits)
                document = command.rank(own, records.read_scores(self.scores), shared=shared)
                self._known = last, document
        return self._known[1]
