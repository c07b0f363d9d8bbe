"""What goes between the page and the study: a pair to judge, and the answer to it. Needs no torch."""

import dataclasses
from typing import Literal, get_args

from bench import records

INPUTS = ("key", "mouse", "touch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the page sends when somebody chose.

    Attributes:
        choice: A is left.
        attempt: 0, or 1 after an undo.
        decision_ms: From both images decoded to the answer.
        input: "key", "mouse" or "touch".
        viewport_width: CSS pixels; so is viewport_height.
        pixel_ratio: Device pixels per CSS pixel.
    """

    choice: records.Choice
    attempt: Literal[0, 1] = 0
    decision_ms: int
    input: str
    viewport_width: int
    viewport_height: int
    pixel_ratio: float

    def __post_init__(self) -> None:
        allowed = {
            "choice": self.choice in get_args(records.Choice),
            "attempt": self.attempt in (0, 1),
            "decision_ms": 0 <= self.decision_ms <= 86_400_000,
            "input": self.input in INPUTS,
            "viewport": 0 < self.viewport_width < 100_000 and 0 < self.viewport_height < 100_000,
            "pixel_ratio": 0 < self.pixel_ratio < 100,
        }
        if not all(allowed.values()):
            wrong = ", ".join(name for name, fine in allowed.items() if not fine)
            raise records.RecordError(f"the answer cannot be stored: {wrong} is out of range.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial as the page gets it: nothing in it tells models or roles apart.

    Attributes:
        trial_id: UUID, known to this participant alone.
        number: Place in the session, from 1; 0, -1 and -2 are training.
        attempt: The attempt that an answer would be.
        photo: Token of the picture; so are left and right.
        answered: The choice that is stored, or None.
        scaled_side: Which side the scales are about, told only after the choice.
        expected: For a training pair the right answer, told only after the choice.
    """

    trial_id: str
    number: int
    attempt: int
    photo: str
    left: str
    right: str
    answered: records.Choice | None = None
    scaled_side: records.Side | None = None
    expected: records.Choice | None = None
