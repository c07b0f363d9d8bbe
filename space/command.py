"""The study's commands: `python -m space.study plan | simulate | rank | close`. Needs no torch."""

import argparse
import functools
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tabulate

from bench import accuracy, ranking, records, standings
from space import outliers, plan, rules, screening, simulate, store

logger = logging.getLogger(__name__)

TIES = 0.2  # share of ties that the advice assumes
TOTALS = (300, 600, 1000, 2000, 5000)
REPEATS = 20
POWER, CONFIDENCE = 0.842, 1.960  # normal quantiles: 80 % power, two-sided 5 %


def decisive_ratings(share: float) -> int:
    """Give the decisive ratings of one pair that show a preference at 5 % with 80 % power.

    Args:
        share: Of the better model, in (0.5, 1).

    Source:
        Normal approximation of the binomial test: n = ((1.960 0.5 + 0.842 sqrt(p (1 - p))) / (p - 0.5))^2.
    """
    return math.ceil(((CONFIDENCE * 0.5 + POWER * math.sqrt(share * (1 - share))) / (share - 0.5)) ** 2)


def advise(models: int, share: float) -> str:
    """Say how many ratings a study needs; the table is simulated with participants who differ in taste."""
    needed = decisive_ratings(share)
    pairs = models * (models - 1) // 2
    direct = math.ceil(needed / (1 - TIES)) * pairs
    limits = rules.STUDY
    rows = [_simulated(models, total, limits) for total in TOTALS]
    table = tabulate.tabulate(rows, headers="keys", tablefmt="github")
    return (
        f"{needed} decisive ratings tell {share:.0%} from even for one pair (two-sided 5 %, 80 % power).\n"
        f"All {pairs} pairs of {models} models by direct comparison, {TIES:.0%} ties: {direct:,} ratings = "
        f"{math.ceil(direct / limits.main_trials):,} sessions; fitted together they need fewer:\n\n{table}\n\n"
        f"Simulated: {REPEATS} studies each, strengths spread over 300 points, {limits.main_trials} ratings a session, "
        f"participants with tastes of their own (0.3 in log s), {TIES:.0%} ties."
    )


def _simulated(models: int, total: int, limits: rules.Rules) -> dict[str, object]:
    names = tuple(f"model-{number:02d}" for number in range(models))
    truth = simulate.Truth(log_s=simulate.spread(names, 300), nu=0.5)
    people = max(2, round(total / limits.main_trials / 5))
    design = plan.Design(models=names, photos=tuple(f"photo-{number}" for number in range(30)), limits=limits)
    halves, orders, tops = [], [], []
    for repeat in range(REPEATS):
        given = simulate.study(design, simulate.crowd("honest", people, truth=truth, seed=repeat + 1), sessions=5)
        compared = ranking.compare([rating for rating in given if rating.role == "main"], names)
        found = ranking.fit(compared).strength
        ends = ranking.intervals(ranking.resample(compared, rounds=200)).strength
        halves.append(np.diff(ends, axis=1).mean() / 2)
        orders.append(np.corrcoef(np.argsort(np.argsort(found)), np.arange(models))[0, 1])
        tops.append(found.argmax() == models - 1)
    return {
        "ratings": total,
        "ratings per model": round(2 * total / models),
        "95 % half-width": f"±{np.mean(halves):.0f}",
        "rank correlation": f"{np.mean(orders):.2f}",
        "best model found": f"{np.mean(tops):.0%}",
    }


def rank(
    ratings: Sequence[records.Rating],
    scores: Sequence[records.Score] = (),
    *,
    values: accuracy.Values | None = None,
    shared: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Screen ratings of one protocol and make the standings of them.

    Args:
        ratings: Of one protocol.
        scores: What the benchmark measured, to correlate with.
        values: What it measured of each prediction.
        shared: Participants who share their address with too many others.
    """
    return standings.standings(body(screening.screen(ratings, shared=shared), ratings), scores, values)


def body(screened: screening.Screening, ratings: Sequence[records.Rating]) -> standings.Body:
    """Put together what the standings are made of."""
    given, limits = screening.latest(ratings), rules.STUDY
    return standings.Body(
        headline=screened.headline,
        everybody=screened.everybody,
        scaled=screened.scaled,
        checks={
            "passed": len(screened.passed),
            "waiting": len(screened.waiting),
            "removed": len(screened.removed),
            "removed_sessions": len(screened.removed_sessions),
            "flagged": len(screened.flags),
            "too_fast": len(screened.too_fast),
            "rejected_by_bt500": len(outliers.bt500(given)),
            "unusual_by_chatbot_arena": len(outliers.unusual(given)),
            "gold_right": _mean(screening.golds(given)),
            "reversed": _mean(screening.reversals(given)),
        },
        min_ratings=limits.min_ratings,
        firm_ratings=limits.firm_ratings,
        firm_participants=limits.firm_participants,
        position_bias=limits.position_bias,
    )


def _mean(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None


def read(source: str) -> list[records.Rating]:
    """Read ratings from a database address or a file of JSON lines.

    Raises:
        RecordError: There are none, or they cannot be read.
    """
    if "://" in source:
        kept = store.Store(source)
        try:
            with kept.read() as connection:
                store.verify(connection)
                found = store.ratings(connection)
        finally:
            kept.close()
    else:
        found = [records.rating_from_row(row) for row in records.read_jsonl(source)]
    if not found:
        raise records.RecordError(f"{source} holds no ratings.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        sys.stdout.write(options.run(options))
    except records.RecordError as error:
        logger.error("%s", error)
        return 2
    return 0


def _plan(options: argparse.Namespace) -> str:
    better, worse = (float(part) for part in options.gap.split(":"))
    share = better / (better + worse)
    if not 0.5 < share < 1 or options.models < 2:
        raise records.RecordError(
            f"--models {options.models} --gap {options.gap}: expected two models or more, and a gap such as 60:40."
        )
    return advise(options.models, share) + "\n"


def _simulate(options: argparse.Namespace) -> str:
    names = tuple(options.names or (f"model-{number:02d}" for number in range(options.models)))
    truth = simulate.Truth(log_s=simulate.spread(names, 300))
    design = plan.Design(models=names, photos=tuple(f"photo-{number}" for number in range(30)))
    people = simulate.crowd("honest", options.participants, truth=truth, seed=options.seed)
    people += simulate.crowd("random", options.participants // 10, truth=truth, seed=options.seed + 1)
    given = simulate.study(design, people, sessions=5)
    records.write_atomic(options.out, b"")
    records.append_jsonl(options.out, map(records.to_row, given))
    return f"{options.out}: {len(given):,} simulated ratings\n"


def _rank(options: argparse.Namespace) -> str:
    scores = records.read_scores(options.scores) if options.scores else []
    values = accuracy.read_values(options.values) if options.values else None
    content = standings.to_json(rank(read(options.ratings), scores, values=values))
    if options.out:
        records.write_atomic(options.out, content)
        return f"{options.out}: written\n"
    return content.decode()


def _close(options: argparse.Namespace) -> str:
    kept = store.Store(options.database)
    try:
        deleted = kept.write(functools.partial(store.close, protocol=options.protocol))
    finally:
        kept.close()
    return (
        f"{options.protocol} is closed: nobody is taken in any more, {deleted} address hashes and their salt were "
        "deleted. Forget NIJIGEN_SECRET too, where it was set.\n"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m space.study", description="Plan, simulate and rank blind studies.")
    commands = parser.add_subparsers(required=True)
    planned = commands.add_parser("plan", help="how many ratings a study needs")
    planned.add_argument("--models", type=int, required=True)
    planned.add_argument("--gap", default="60:40", help="preference that shall be found, e.g. 60:40")
    planned.set_defaults(run=_plan)
    simulated = commands.add_parser("simulate", help="ratings of participants with known truth, marked as simulated")
    simulated.add_argument("--out", type=Path, required=True, help="file of JSON lines")
    simulated.add_argument("--models", type=int, default=6)
    simulated.add_argument("--names", nargs="*", help="names in place of model-00, ..., the weakest first")
    simulated.add_argument("--participants", type=int, default=30)
    simulated.add_argument("--seed", type=int, default=0)
    simulated.set_defaults(run=_simulate)
    ranked = commands.add_parser("rank", help="standings as JSON, of a database or a file of JSON lines")
    ranked.add_argument("ratings", help="SQLAlchemy address or file")
    ranked.add_argument("--scores", type=Path, help="scores.jsonl of the benchmark, to correlate with")
    ranked.add_argument("--values", type=Path, help="values.jsonl of the benchmark on the study's photos")
    ranked.add_argument("--out", type=Path, help="file to write; standard output by default")
    ranked.set_defaults(run=_rank)
    closing = commands.add_parser("close", help="end a study for good and delete its address hashes and their salt")
    closing.add_argument("database", help="SQLAlchemy address")
    closing.add_argument("--protocol", default=rules.STUDY.protocol)
    closing.set_defaults(run=_close)
    return parser
