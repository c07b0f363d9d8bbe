"""Every threshold of the study, in one place and frozen by its hash before the first rating. Needs no torch."""

import dataclasses
import hashlib
import json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """What a session is made of, and who counts.

    Attributes:
        protocol: Name and version; other rules are another version.
        main_trials: Trials of a session that are ranked.
        gold_trials: A prediction against a damaged copy of itself.
        duplicate_trials: Main trials once more, sides swapped.
        duplicate_distance: Trials from a main trial to its duplicate, at least.
        scale_every: Every how manyth trial also asks for the three scales.
        scale_ratings: How many scale answers each rated prediction shall get.
        trial_minutes: A trial that was not answered by then is void.
        undo_seconds: How long an answer can be taken back.
        min_photos: A study has a photo per main and gold trial.
        min_session_ms: Median decision time below which a session is removed.
        longest_run: More answers than this for one side in a row are a flag.
        min_golds: A participant is judged from this many gold trials
        min_duplicates: and duplicates on.
        gold_right: Least share of gold trials answered right.
        not_reversed: Least share of duplicates that were not answered the other way round.
        min_scale_variance: Of a session's scale answers.
        min_scale_trials: A participant's scale answers are judged from this many trials on.
        min_scale_correlation: With the mean of the others.
        limits: (ratings, seconds): more than so many in so long are stored and left out.
        shared_address: So many participants behind one address are a flag
        shared_address_days: within so many days.
        min_ratings: A model with fewer is hidden.
        firm_ratings: A model with fewer is preliminary.
        firm_participants: A ranking of fewer is preliminary.
        position_bias: A ranking is preliminary while the interval of P(left) excludes 0.5 by more.
    """

    protocol: str = "study-v1"
    main_trials: int = 17
    gold_trials: int = 1
    duplicate_trials: int = 2
    duplicate_distance: int = 5
    scale_every: int = 4
    scale_ratings: int = 24
    trial_minutes: int = 30
    undo_seconds: int = 5
    min_photos: int = 18
    min_session_ms: int = 1500
    longest_run: int = 10
    min_golds: int = 5
    min_duplicates: int = 10
    gold_right: float = 0.8
    not_reversed: float = 0.7
    min_scale_variance: float = 0.15
    min_scale_trials: int = 25
    min_scale_correlation: float = 0.75
    limits: tuple[tuple[int, int], ...] = ((6, 10), (25, 60), (300, 3600))
    shared_address: int = 6
    shared_address_days: int = 7
    min_ratings: int = 100
    firm_ratings: int = 300
    firm_participants: int = 30
    position_bias: float = 0.03

    @property
    def trials(self) -> int:
        """Trials of a session."""
        return self.main_trials + self.gold_trials + self.duplicate_trials

    @property
    def sha256(self) -> str:
        """Hash of the values, which stands in every rating."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


STUDY = Rules()
PILOT = dataclasses.replace(STUDY, protocol="pilot-v1", min_photos=1)
ARENA = dataclasses.replace(STUDY, protocol="arena-v1", min_photos=1)
