"""Does the study find what is known? `python -m tests.space.truth coverage | screening | collusion`, all simulated.

Each prints what it measured beside its goal, and ends with status 1 where the goal is missed.
"""

import argparse
import sys

import numpy as np

from bench import ranking, records
from space import plan, screening, simulate

MODELS = tuple(f"model-{number}" for number in range(6))
PHOTOS = tuple(f"photo-{number}" for number in range(40))


def coverage(studies: int) -> bool:
    """Count how often the 95 % interval of a strength holds the true one: 93 to 97 % of the time."""
    truth = simulate.Truth(log_s=simulate.spread(MODELS, 300), nu=0.5)
    log_s = np.array(list(truth.log_s.values()))
    expected = ranking.BASE + ranking.SCALE * (log_s - log_s.mean()) / np.log(10)
    inside = []
    for number in range(studies):
        compared = ranking.compare(collect(simulate.crowd("honest", 60, truth=truth, seed=number + 1), 2), MODELS)
        ends = ranking.intervals(ranking.resample(compared, rounds=1000, seed=number)).strength
        inside.append((ends[:, 0] <= expected) & (expected <= ends[:, 1]))
    share = float(np.mean(inside))
    sys.stdout.write(
        f"coverage of 95 % intervals: {share:.1%} of {len(MODELS)} models in {studies} studies of 60 participants, "
        "2 sessions each (goal 93 to 97 %)\n"
    )
    return 0.93 <= share <= 0.97


def screened(people: int) -> bool:
    """Count who is removed after five sessions: random at least 95 %, one-sided 90 %, honest 2 % at most."""
    truth = simulate.Truth(log_s=simulate.spread(MODELS, 300))
    goals = {"random": (0.95, 1.0), "four_way": (0.95, 1.0), "one_sided": (0.9, 1.0), "honest": (0.0, 0.02)}
    fine = True
    for kind, (least, most) in goals.items():
        crowd = simulate.crowd(kind, people, truth=truth, seed=7)  # pyright: ignore[reportArgumentType]
        given = simulate.study(design(), crowd, sessions=5)
        share = len(screening.screen(given).removed) / people
        fine &= least <= share <= most
        sys.stdout.write(f"{kind}: {share:.1%} of {people} removed (goal {least:.0%} to {most:.0%})\n")
    return fine


def collusion(repeats: int) -> bool:
    """Let ten ids push one model with 200 ratings among 2,000 honest ones: no model may move by more than a rank."""
    truth = simulate.Truth(log_s=simulate.spread(MODELS, 300))
    worst = {"screened": 0, "unscreened": 0}
    for number in range(repeats):
        target = MODELS[number % len(MODELS)]
        honest = simulate.crowd("honest", 24, truth=truth, seed=number + 1)
        given = simulate.study(design(), honest, sessions=5)  # 2,040 ranked ratings
        actor = simulate.crowd("colluding", 10, truth=truth, seed=number + 5001, target=target)
        ledger = plan.Ledger.of(())
        rigged = [*given, *simulate.study(design(), actor, sessions=2, ledger=ledger)][: len(given) + 240]
        for name, part in (("screened", lambda s: s.headline), ("unscreened", lambda s: s.everybody)):
            before, after = (ranks(part(screening.screen(each))) for each in (given, rigged))
            worst[name] = max(worst[name], int(np.abs(before - after).max()))
    sys.stdout.write(
        f"largest change of rank by ten colluding ids, {repeats} studies: {worst['screened']} screened, "
        f"{worst['unscreened']} unscreened (goal at most 1)\n"
    )
    return max(worst.values()) <= 1


def ranks(ratings: tuple[records.Rating, ...]) -> np.ndarray:
    """Rank the models, 0 for the weakest."""
    return np.argsort(np.argsort(ranking.fit(ranking.compare(ratings, MODELS)).strength))


def design() -> plan.Design:
    """Give the design of the simulated study."""
    return plan.Design(models=MODELS, photos=PHOTOS)


def collect(people: list[simulate.Participant], sessions: int) -> list[records.Rating]:
    """Let people sit and keep the ranked ratings."""
    return [rating for rating in simulate.study(design(), people, sessions=sessions) if rating.role == "main"]


def main() -> int:
    """Run one of the checks."""
    parser = argparse.ArgumentParser(description="Checks of the statistics with known truth.")
    parser.add_argument("check", choices=("coverage", "screening", "collusion"))
    parser.add_argument("--amount", type=int, help="studies, participants of a kind, or repeats")
    options = parser.parse_args()
    checks = {"coverage": (coverage, 500), "screening": (screened, 600), "collusion": (collusion, 12)}
    check, usual = checks[options.check]
    return 0 if check(options.amount or usual) else 1


if __name__ == "__main__":
    sys.exit(main())
