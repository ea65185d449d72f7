"""Interleaved rounds: for each row, in each round, every loop once, in rotated order.

Owns the order of runs and what happens to one that fails: the loop gives no more runs of that row,
those it gave are dropped (a failed run is an error, not a row), and the suite goes on with the
rest. Used from the driver's main thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.clients import Metrics
from bench.loops import LOOPS
from bench.processes import RunError
from bench.results import Failure, RowResult, Run
from bench.rows import LIMITS, Row

MeasureRun = Callable[[Row, str], Metrics]
Notify = Callable[[Row, int, str, Metrics | None], None]


@dataclass(frozen=True)
class Plan:
    """One row and who takes part in it; ``gaps`` names those who cannot, with the reason."""

    row: Row
    loops: tuple[str, ...]
    gaps: dict[str, str]


def plan_row(row: Row, loops: Sequence[str]) -> Plan:
    """Choose from ``loops`` (C limits included) those that serve ``row``."""
    taking_part, gaps = [], {}
    for loop in loops:
        if loop in LIMITS:
            if loop in row.limits:
                taking_part.append(loop)
            continue
        gap = LOOPS[loop].gap(row.name)
        if gap is None:
            taking_part.append(loop)
        else:
            gaps[loop] = gap
    return Plan(row, tuple(taking_part), gaps)


def rotated(loops: Sequence[str], by: int) -> list[str]:
    """Return ``loops`` beginning with another one in each round, so that none is always first."""
    if not loops:
        return []
    start = by % len(loops)
    return [*loops[start:], *loops[:start]]


def run_rounds(
    plan: Plan, rounds: int, measure_run: MeasureRun, notify: Notify
) -> tuple[RowResult, list[Failure]]:
    """Measure one row in ``rounds`` interleaved rounds.

    ``notify`` is called before each run (with None) and after it (with its figures).
    """
    result = RowResult(plan.row, gaps=dict(plan.gaps))
    failures: dict[str, Failure] = {}
    for number in range(rounds):
        for position, loop in enumerate(rotated(plan.loops, number)):
            if loop in failures:
                continue
            notify(plan.row, number, loop, None)
            try:
                metrics = measure_run(plan.row, loop)
            except RunError as error:
                failures[loop] = Failure(plan.row.name, loop, number, str(error))
                continue
            result.runs.append(Run(number, position, loop, metrics))
            notify(plan.row, number, loop, metrics)
    result.runs = [run for run in result.runs if run.loop not in failures]
    return result, list(failures.values())
