"""From pairwise choices to strengths: Davidson's model with a position intercept, and its intervals. Needs no torch."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, sparse, special
from scipy.sparse import csgraph

from bench import records

LEFT, RIGHT, TIE = range(3)
OUTCOMES = {"A": LEFT, "B": RIGHT, "tie": TIE, "both_bad": TIE}
BASE, SCALE = 1000.0, 400.0
ROUNDS, SEED = 1000, 2026
NUISANCE_SD = 5.0  # of the prior on log gamma and log nu: without a single tie nu would be 0
LARGEST_STEP = 2.0  # of Newton's method, in natural logarithms
TOLERANCE = 1e-9

Array = np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Choices between two models, one entry each.

    Attributes:
        models: Names; the index arrays point into them.
        left: Index of the model on the left.
        right: Index of the model on the right.
        outcome: `LEFT`, `RIGHT` or `TIE`; "both bad" is a tie.
        participant: Number of the person who chose.
        photo: Number of the photo.
    """

    models: tuple[str, ...]
    left: Int[Array, "n"]
    right: Int[Array, "n"]
    outcome: Int[Array, "n"]
    participant: Int[Array, "n"]
    photo: Int[Array, "n"]

    def __len__(self) -> int:
        return len(self.left)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Davidson's model, fitted.

    Attributes:
        strength: Per model, `BASE` + `SCALE` log10 s; the mean over models is `BASE`.
        gamma: How much more often a model is chosen on the left: 1 without position bias.
        nu: How common ties are, at least 0.
    """

    strength: Float[Array, "m"]
    gamma: float
    nu: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Intervals:
    """95 % intervals of a bootstrap, low and high per model.

    Attributes:
        strength: In the unit of `Fit.strength`.
        rank: 1 is the strongest.
        left_wins: Of the share of decisive choices that went to the left.
    """

    strength: Float[Array, "m 2"]
    rank: Int[Array, "m 2"]
    left_wins: tuple[float, float]


def compare(ratings: Sequence[records.Rating], models: Sequence[str] | None = None) -> Comparisons:
    """Take the choices that can be fitted; "cannot load" cannot.

    Args:
        ratings: Ratings of main trials.
        models: Names in the wanted order; all that occur, sorted, by default.
    """
    fitted = [rating for rating in ratings if rating.choice in OUTCOMES]
    names = tuple(models or sorted({name for rating in fitted for name in (rating.left_model, rating.right_model)}))
    index = {name: number for number, name in enumerate(names)}
    people = {name: number for number, name in enumerate(sorted({rating.participant_id for rating in fitted}))}
    photos = {name: number for number, name in enumerate(sorted({rating.photo_id for rating in fitted}))}
    return Comparisons(
        models=names,
        left=np.array([index[rating.left_model] for rating in fitted], dtype=int),
        right=np.array([index[rating.right_model] for rating in fitted], dtype=int),
        outcome=np.array([OUTCOMES[rating.choice] for rating in fitted], dtype=int),
        participant=np.array([people[rating.participant_id] for rating in fitted], dtype=int),
        photo=np.array([photos[rating.photo_id] for rating in fitted], dtype=int),
    )


def components(comparisons: Comparisons, *, strong: bool = False) -> list[tuple[str, ...]]:
    """Group the models that choices connect; a single group can be ranked.

    Args:
        comparisons: What was chosen.
        strong: Ask for a path of wins or ties in both directions. Without it strengths rest on the prior.

    Returns:
        Groups of names, the largest first.
    """
    won = comparisons.outcome != RIGHT
    lost = comparisons.outcome != LEFT
    winners = np.concatenate([comparisons.left[won], comparisons.right[lost]])
    losers = np.concatenate([comparisons.right[won], comparisons.left[lost]])
    count = len(comparisons.models)
    graph = sparse.coo_array((np.ones(len(winners)), (winners, losers)), shape=(count, count))
    _, labels = csgraph.connected_components(graph, connection="strong" if strong else "weak")
    groups = [tuple(np.array(comparisons.models)[labels == label].tolist()) for label in np.unique(labels)]
    return sorted(groups, key=lambda group: (-len(group), group))


def fit(comparisons: Comparisons) -> Fit:
    """Fit Davidson's model with a position intercept.

    Returns:
        The strengths with the largest posterior: one win and one loss of each model against a phantom with s = 1 keep
        perfect records finite.

    Raises:
        RecordError: Fewer than two models, or groups of models that were never compared with each other.

    Source:
        Davidson (1970), On extending the Bradley-Terry model to accommodate ties; the intercept is Davidson and
        Beaver's (1977) multiplicative order effect.
    """
    check(comparisons)
    design = Design(len(comparisons.models))
    return _describe(newton(design, counts(comparisons)[None])[0])


def check(comparisons: Comparisons) -> None:
    """Raise RecordError where no ranking can be had."""
    if len(comparisons.models) < 2:
        raise records.RecordError(f"a ranking needs two models; the ratings name {len(comparisons.models)}.")
    groups = components(comparisons)
    if len(groups) > 1:
        listed = "; ".join(", ".join(group) for group in groups)
        raise records.RecordError(
            f"these groups of models were never compared with each other: {listed}. Collect ratings between them, "
            "or rank each group by itself."
        )


def counts(comparisons: Comparisons, weights: Float[Array, "n"] | None = None) -> Float[Array, "m m 3"]:
    """Count the outcomes of every (left, right) pair, each choice with its weight."""
    total = np.zeros((len(comparisons.models),) * 2 + (3,))
    np.add.at(total, (comparisons.left, comparisons.right, comparisons.outcome), 1.0 if weights is None else weights)
    return total


class Design:
    """Davidson's model as a multinomial logit: one row of regressors per (left, right) pair and outcome.

    The parameters are log s of each model, log gamma, log nu. Every model also meets a phantom, without ties.

    Args:
        models: How many models there are.
    """

    def __init__(self, models: int) -> None:
        self.models = models
        left, right = (index.ravel() for index in np.indices((models, models)))
        rows = np.arange(models * models)
        x = np.zeros((models * models + models, 3, models + 2))
        for outcome, (a, b) in enumerate(((1.0, 0.0), (0.0, 1.0), (0.5, 0.5))):
            x[rows, outcome, left] += a
            x[rows, outcome, right] += b
        x[rows, LEFT, models] = 1.0
        x[rows, TIE, models + 1] = 1.0
        x[models * models + np.arange(models), LEFT, np.arange(models)] = 1.0
        self.x = x
        self.squares = np.einsum("pki,pkj->pkij", x, x).reshape(-1, (models + 2) ** 2)
        self.possible = np.zeros(x.shape[:2])
        self.possible[models * models :, TIE] = -np.inf
        self.ridge = np.r_[np.zeros(models), np.full(2, NUISANCE_SD**-2)]

    def with_phantom(self, outcomes: Float[Array, "r m m 3"]) -> Float[Array, "r p 3"]:
        """Add each model's win and loss against the phantom to the counts."""
        rounds = len(outcomes)
        phantom = np.broadcast_to([1.0, 1.0, 0.0], (rounds, self.models, 3))
        return np.concatenate([outcomes.reshape(rounds, -1, 3), phantom], axis=1)


def newton(design: Design, outcomes: Float[Array, "r m m 3"], start: Array | None = None) -> Float[Array, "r d"]:
    """Maximise the posterior of many data sets at once by Newton's method; it is concave.

    Args:
        design: The regressors.
        outcomes: Counts per data set.
        start: Parameters to begin with; zeros by default.
    """
    observed = design.with_phantom(outcomes)
    total = observed.sum(axis=2)
    width = design.models + 2
    beta = np.zeros((len(outcomes), width)) if start is None else np.tile(start, (len(outcomes), 1))
    for _ in range(100):
        shares = special.softmax(np.einsum("pkd,rd->rpk", design.x, beta) + design.possible, axis=2)
        expected = total[..., None] * shares
        gradient = (observed - expected).reshape(len(beta), -1) @ design.x.reshape(-1, width) - design.ridge * beta
        mean = np.einsum("rpk,pkd->rpd", shares, design.x)
        curvature = (expected.reshape(len(beta), -1) @ design.squares).reshape(-1, width, width)
        curvature -= np.swapaxes(mean * total[..., None], 1, 2) @ mean
        curvature += np.diag(design.ridge)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        beta += np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        if np.abs(step).max() < TOLERANCE:
            return beta
    raise ArithmeticError("Newton's method did not converge in 100 steps.")


def _describe(beta: Float[Array, "d"]) -> Fit:
    return Fit(strength=_strength(beta[:-2]), gamma=float(np.exp(beta[-2])), nu=float(np.exp(beta[-1])))


def _strength(log_s: Float[Array, "*r m"]) -> Float[Array, "*r m"]:
    return BASE + SCALE * (log_s - log_s.mean(axis=-1, keepdims=True)) / np.log(10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds:
    """What each refit of a bootstrap gave.

    Attributes:
        strength: Per round and model.
        left_wins: Per round the share of decisive choices that went to the left.
    """

    strength: Float[Array, "r m"]
    left_wins: Float[Array, "r"]


def resample(
    comparisons: Comparisons, *, cluster: str = "participant", rounds: int = ROUNDS, seed: int = SEED
) -> Rounds:
    """Refit on clusters drawn with replacement: one person's choices are not independent.

    Args:
        comparisons: What was chosen.
        cluster: "participant", "photo", or "both": people and photos drawn together.
        rounds: How many refits.
        seed: Of the draws.

    Raises:
        RecordError: See `fit`.
    """
    check(comparisons)
    models = len(comparisons.models)
    if cluster == "both":
        weights = joint_weights(comparisons.participant, comparisons.photo, rounds=rounds, seed=seed)
    else:
        groups = getattr(comparisons, cluster)
        weights = draw(groups, rounds=rounds, generator=np.random.default_rng(seed))[:, groups]
    cell = (comparisons.left * models + comparisons.right) * 3 + comparisons.outcome
    cells = sparse.coo_array((np.ones(len(cell)), (np.arange(len(cell)), cell)), shape=(len(cell), models * models * 3))
    outcomes = (weights @ cells.tocsr()).reshape(rounds, models, models, 3)
    design = Design(models)
    start = newton(design, counts(comparisons)[None])[0]
    decided = outcomes[..., [LEFT, RIGHT]].sum(axis=(1, 2))
    return Rounds(
        strength=_strength(newton(design, outcomes, start)[:, :-2]),
        left_wins=decided[:, LEFT] / np.maximum(decided.sum(axis=1), 1),
    )


def draw(groups: Int[Array, "n"], *, rounds: int, generator: np.random.Generator) -> Int[Array, "r k"]:
    """Draw as many groups as there are, with replacement; gives how often each one came in every round."""
    amount = int(groups.max()) + 1
    return generator.multinomial(amount, np.full(amount, 1 / amount), size=rounds)


def joint_weights(
    participant: Int[Array, "n"], photo: Int[Array, "n"], *, rounds: int = ROUNDS, seed: int = SEED
) -> Float[Array, "r n"]:
    """Weigh every choice in a bootstrap that draws people and photos: how often both were drawn, multiplied.

    Source:
        Owen (2007), The pigeonhole bootstrap.
    """
    generator = np.random.default_rng(seed)
    people, photos = (draw(groups, rounds=rounds, generator=generator) for groups in (participant, photo))
    return (people[:, participant] * photos[:, photo]).astype(float)


def intervals(rounds: Rounds) -> Intervals:
    """Give the 2.5 and 97.5 percentiles of strength and rank; ranks are whole numbers, the best of a round has 1."""
    rank = 1 + np.argsort(np.argsort(-rounds.strength, axis=1, kind="stable"), axis=1)
    low, high = np.percentile(rounds.left_wins, [2.5, 97.5])
    return Intervals(
        strength=np.percentile(rounds.strength, [2.5, 97.5], axis=0).T,
        rank=np.percentile(rank, [2.5, 97.5], axis=0, method="inverted_cdf").T.astype(int),
        left_wins=(float(low), float(high)),
    )


def rao_kupper(comparisons: Comparisons) -> Fit:
    """Fit the other common model of ties, as a cross-check; `Fit.nu` holds its threshold theta.

    Raises:
        RecordError: See `fit`.

    Source:
        Rao and Kupper (1967), Ties in paired-comparison experiments.
    """
    check(comparisons)
    observed = counts(comparisons)
    models = len(comparisons.models)

    def loss(parameters: Array) -> float:
        log_s, log_gamma = parameters[:models], parameters[models]
        log_theta = special.softplus(parameters[models + 1])
        a, b = (log_s + log_gamma)[:, None], log_s[None, :]
        left = a - np.logaddexp(a, b + log_theta)
        right = b - np.logaddexp(b, a + log_theta)
        tie = np.log(np.expm1(2 * log_theta)) + left + right
        phantom = log_s - 2 * np.logaddexp(log_s, 0)
        nuisance = (log_gamma / NUISANCE_SD) ** 2 / 2 + (parameters[models + 1] / NUISANCE_SD) ** 2 / 2
        return float(nuisance - phantom.sum() - (observed * np.stack([left, right, tie], axis=2)).sum())

    found = optimize.minimize(loss, np.zeros(models + 2), method="BFGS", options={"gtol": 1e-5}).x
    return Fit(
        strength=_strength(found[:models]),
        gamma=float(np.exp(found[models])),
        nu=float(np.exp(special.softplus(found[models + 1]))),
    )


def win_matrix(comparisons: Comparisons) -> Float[Array, "m m"]:
    """Count how often the model of the row was preferred to the model of the column, on either side."""
    observed = counts(comparisons)
    return observed[..., LEFT] + observed[..., RIGHT].T
