"""What loopx is meant to reach, and how far a report says that it got.

Owns the targets: requests as a ratio to the reference's, and nanoseconds or KiB as they are, which
another machine has more or fewer of. Pure functions of a report's JSON, as those of
``bench.tables``; rows without a target are not in these tables.
"""

from __future__ import annotations

from bench import tables
from bench.loops import REFERENCE, SUBJECT, is_subject
from bench.rows import LIMITS
from bench.tables import Json, Table

RATIOS = {
    "echo-protocol-1x1024": 1.0,
    "echo-protocol-64x102400": 1.2,
    "echo-buffered-64x1024": 1.38,
    "echo-streams-64x1024": 1.4,
    "echo-sock-64x1024": 1.75,
    "aiohttp-hello-64": 1.4,
    "aiohttp-tls-hello-64": 1.3,
    "uvicorn-hello-64": 1.45,
}
# This much of what the better bare C server reaches.
OF_LIMIT = {"echo-protocol-64x1024": 0.95, "echo-protocol-512x64": 0.95}
MISSED = ", missed"
AT_MOST = {
    "micro-call-soon-chain": 150,
    "micro-call-soon-batch": 200,
    "micro-call-later-cancel": 200,
    "micro-call-later-cancel-50000": 350,
    "micro-sleep-0": 400,
    "micro-future-wakeup": 900,
    "micro-gather-20000": 3_000,
    "micro-threadsafe-own-thread": 180,
    "micro-loop-cycle": 60_000,
    "memory-loop-made": 64,
    "memory-idle-connection": 0.9,
}


def make_tables(report: Json) -> list[Table]:
    """Return a table for each kind of target that the report has rows of."""
    rows = [row for row in report["rows"] if SUBJECT in row["summary"]]
    made = [
        Table("targets", f"Targets: requests/s as a ratio to {REFERENCE}", header(),
              [line(row, *ratio_target(row)) for row in rows if ratio_target(row)[0]]),
        Table("targets-at-most", "Targets: ns or KiB, at most", header(),
              [line(row, AT_MOST[row["name"]], "", at_most=True)
               for row in rows if row["name"] in AT_MOST]),
    ]
    return [table for table in made if table.rows]


def missed(report: Json) -> list[tuple[str, list[str]]]:
    """Return the report's name and the line of each target that it misses."""
    return [
        (report["name"], line)
        for table in make_tables(report)
        for line in table.rows
        if line[3].endswith(MISSED)
    ]


def header() -> list[str]:
    """Return what the columns are."""
    return ["", "target", SUBJECT, "of the target", "to the best other loop"]


def ratio_target(row: Json) -> tuple[float, str]:
    """Return the least ratio to the reference, 0 if there is none, and what it is made of."""
    limits = [tables.ratio_of(row, limit, row["metric"]) or 0.0 for limit in LIMITS]
    if row["name"] in OF_LIMIT and any(limits):
        share = OF_LIMIT[row["name"]]
        return share * max(limits), f" ({share} of C)"
    return RATIOS.get(row["name"], 0.0), ""


def line(row: Json, target: float, remark: str, at_most: bool = False) -> list[str]:
    """Return the target, the figure, what share of the one the other is, and who comes next."""
    figure_of = tables.median_of if at_most else tables.ratio_of
    figures = {
        loop: figure for loop in row["summary"]
        if loop not in LIMITS and (figure := figure_of(row, loop, row["metric"])) is not None
    }
    reached = figures.pop(SUBJECT, None)
    cells = [row["title"], tables.number(target) + remark, tables.number(reached)]
    if reached is None:
        return [*cells, "-", "-"]
    is_missed = reached > target if at_most else reached < target
    cells.append(f"{reached / target:.2f}" + (MISSED if is_missed else ""))
    others = {loop: figure for loop, figure in figures.items() if not is_subject(loop)}
    if not others:
        return [*cells, "-"]
    best = (min if at_most else max)(others, key=lambda loop: others[loop])
    lead = others[best] / reached if at_most else reached / others[best]
    return [*cells, f"{lead:.2f} ({best})"]
