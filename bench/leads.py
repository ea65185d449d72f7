"""Who is ahead of loopx, on which figure of which row, and by how much.

Owns the comparison that opens the HTML report: every figure of a row counts, each rival of the same
run. Two ways to compare do not always agree on a noisy machine, though both are made of pairs of
runs of the same round: the rival's run against loopx's, and the two ratios to the reference that
the tables show. A rival that is ahead in either of them is told of, however little;
``rounds_ahead`` tells how sure it is; rounds on kept servers share what luck those had. Pure
functions of a report's JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.loops import SUBJECT, is_subject
from bench.results import RATIO_METRICS, Run, pairs, spread
from bench.rows import LIMITS
from bench.tables import mark_if_saturated, median_of, missing_cell, ratio_of
from bench.workloads import CALIBRATION

HIGHER_IS_BETTER = frozenset({"requests_per_second"})
FIGURES = {
    "requests_per_second": "requests/s",
    "cpu_us_per_request": "CPU per request, us",
    "p50_us": "latency p50, us",
    "p99_us": "latency p99, us",
    "best_ns": "time per operation, ns",
    "resident_kib": "memory, KiB",
    "instructions": "user instructions per operation",
}

Json = dict[str, Any]


@dataclass(frozen=True)
class Lead:
    """A rival that is ahead: ``ratio`` is how many times better its figure is.

    It is the median over pairs, ``least`` to ``most``; ``ratio_of_tables`` is made of the ratios to
    the reference, where both have one.
    """

    run: str
    group: str
    row: str
    metric: str
    is_headline: bool
    rival: str
    ratio: float
    ratio_of_tables: float | None
    least: float
    most: float
    rounds_ahead: int
    rounds: int
    rival_figure: float
    own_figure: float
    mark: str

    @property
    def is_limit(self) -> bool:
        """Whether the rival is a bare C server, which no loop has to be level with."""
        return self.rival in LIMITS

    @property
    def greatest(self) -> float:
        """The greater of the two ratios, always above 1."""
        return max(self.ratio, self.ratio_of_tables or 0.0)


@dataclass(frozen=True)
class Absence:
    """A row on which others have a figure and loopx has none."""

    run: str
    row: str
    reason: str


def times_better(metric: str, rival: float, own: float) -> float:
    """Return how many times better the rival's figure is; infinity where it needs nothing."""
    better, worse = (rival, own) if metric in HIGHER_IS_BETTER else (own, rival)
    if worse == 0:
        return math.inf if better > 0 else 1.0
    return better / worse


def pairs_of(row: Json, rival: str, metric: str) -> list[float]:
    """Return how many times better the rival was in each round in which both have the figure."""
    found = pairs([Run(**run) for run in row["runs"]], metric, rival, SUBJECT)
    return [times_better(metric, theirs, own) for theirs, own in found]


def rows_with_a_loop(report: Json) -> list[Json]:
    """Return the rows that compare loops: one compares interpreters."""
    return [row for row in report["rows"] if row["name"] != f"instructions-{CALIBRATION}"]


def leads_of(report: Json) -> list[Lead]:
    """Return every lead over loopx in the report, the greatest first."""
    found = [
        lead
        for row in rows_with_a_loop(report)
        for metric in RATIO_METRICS
        for rival in row["summary"]
        if not is_subject(rival)
        for lead in lead_of(report, row, metric, rival)
    ]
    return sorted(found, key=lambda lead: lead.greatest, reverse=True)


def lead_of(report: Json, row: Json, metric: str, rival: str) -> Iterator[Lead]:
    """Yield the rival's lead, if its median is ahead."""
    ratios = pairs_of(row, rival, metric)
    own, other = (median_of(row, loop, metric) for loop in (SUBJECT, rival))
    if not ratios or own is None or other is None:
        return
    ratio, of_tables = spread(ratios), ratio_of_tables(row, rival, metric)
    if max(ratio["median"], of_tables or 0.0) > 1:
        yield Lead(
            run=report["name"], group=row["group"], row=row["title"], metric=metric,
            is_headline=metric == row["metric"], rival=rival, ratio=ratio["median"],
            ratio_of_tables=of_tables, least=ratio["min"], most=ratio["max"],
            rounds_ahead=sum(each > 1 for each in ratios), rounds=len(ratios),
            rival_figure=other, own_figure=own,
            mark=mark_if_saturated(row, SUBJECT) or mark_if_saturated(row, rival),
        )


def ratio_of_tables(row: Json, rival: str, metric: str) -> float | None:
    """Return how many times better the rival's ratio to the reference is, if both have one."""
    own, other = (ratio_of(row, loop, metric) for loop in (SUBJECT, rival))
    return None if own is None or other is None else times_better(metric, other, own)


def comparisons(report: Json) -> int:
    """Return on how many headline figures loopx was compared with another loop."""
    return sum(
        bool(pairs_of(row, rival, row["metric"]))
        for row in rows_with_a_loop(report)
        for rival in row["summary"]
        if not is_subject(rival) and rival not in LIMITS
    )


def absences(report: Json) -> list[Absence]:
    """Return the rows that others have served and loopx has not: these are lost as well."""
    missing = []
    for row in report["rows"]:
        failed = any(each["row"] == row["name"] for each in report["failures"])
        if SUBJECT in row["summary"] or not (row["summary"] or row["gaps"] or failed):
            continue
        why = {"failed": "its run failed", "-": "took no part"}
        state = missing_cell(report, row, SUBJECT)
        missing.append(Absence(report["name"], row["title"],
                               why.get(state) or row["gaps"][SUBJECT]))
    return missing
