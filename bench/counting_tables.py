"""Tables of counted instructions: all of them by loop, and where loopx's go.

Pure functions of a report's JSON, as those of ``bench.tables``, which adds what both share.
"""

from __future__ import annotations

from bench import tables
from bench.tables import Json, Table

PARTS = ("python", "modules", "loop", "libc", "other")


def make_tables(report: Json, rows: list[Json]) -> list[Table]:
    """Return both tables."""
    return [totals(report, rows), parts(rows)]


def totals(report: Json, rows: list[Json]) -> Table:
    """User instructions per operation on each loop, and how far apart equal runs were."""
    loops = tables.loops_of(rows)
    table = Table("instructions", "User instructions per operation (lower is better)",
                  ["", *loops])
    tables.fill(report, table, rows, loops,
                lambda row, loop: tables.number(tables.median_of(row, loop, "instructions")))
    table.notes.append(
        f"Two equal runs differ by {widest_spread(rows, ['loopx']):.2%} at most on loopx, "
        f"{widest_spread(rows, loops):.2%} on any loop."
    )
    return table


def widest_spread(rows: list[Json], loops: list[str]) -> float:
    """Return the largest difference between runs of a row on a loop, as a share of their median."""
    figures = [
        row["summary"][loop]["figures"]["instructions"]
        for row in rows for loop in loops if loop in row["summary"]
    ]
    return float(max((each["max"] - each["min"]) / each["median"] for each in figures))


def parts(rows: list[Json]) -> Table:
    """Where the instructions of an operation on loopx are, and what else it takes."""
    table = Table(
        "instructions-parts", "loopx: user instructions per operation by part",
        ["", "all", *PARTS, "allocations", "turns", "system calls of the loop"],
    )
    for row in rows:
        names = ("instructions", *PARTS, "allocations", "turns", "system_calls")
        if "loopx" in row["summary"]:
            cells = [tables.number(tables.median_of(row, "loopx", name)) for name in names]
            table.rows.append([row["title"], *cells])
    return table
