"""Turns a stored report into tables that know nothing of how they are shown.

Owns the choice of columns and the wording of cells. Pure functions of the report's JSON: no files,
no clock. ``bench.report`` shows the tables on a terminal or as Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.loops import LOOPS, REFERENCE
from bench.rows import LIMITS, SERVED_GROUPS, whole_seconds

SATURATED_SHARE = 0.95
SATURATED_MARK = "†"

Json = dict[str, Any]


@dataclass
class Table:
    """A title, a header, rows of text, and notes that belong below. ``name`` is its marker."""

    name: str
    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_tables(report: Json) -> list[Table]:
    """Return every table for which the report has rows."""
    from bench import counting_tables, targets  # which take their cells from here

    tables = []
    if rows := rows_of(report, ["demo"]):
        tables.append(demo_table(report, "demo", rows))
    for group in SERVED_GROUPS:
        if rows := rows_of(report, [group]):
            tables.append(ratio_table(report, group, rows))
    if rows := rows_of(report, SERVED_GROUPS):
        tables.append(latency_table(report, rows))
    for group in ("micro", "memory"):
        if rows := rows_of(report, [group]):
            tables.append(absolute_table(report, group, rows))
    if rows := rows_of(report, ["profile"]):
        tables.append(profile_table(report, rows))
    if rows := rows_of(report, ["idle"]):
        tables.append(idle_table(report, rows))
    if rows := rows_of(report, ["instructions"]):
        tables += counting_tables.make_tables(report, rows)
    tables += targets.make_tables(report)
    for table in tables:
        table.notes.append(describe_run(report))
    return tables


def rows_of(report: Json, groups: Iterable[str]) -> list[Json]:
    """Return the report's rows of some groups, if they have any run or a gap to tell of."""
    wanted = set(groups)
    return [
        row for row in report["rows"] if row["group"] in wanted and (row["runs"] or row["gaps"])
    ]


def loops_of(rows: Iterable[Json]) -> list[str]:
    """Return the loops that appear in ``rows``, in the registry's order, C limits last."""
    seen = {name for row in rows for name in [*row["summary"], *row["gaps"]]}
    return [name for name in [*LOOPS, *LIMITS] if name in seen]


def median_of(row: Json, loop: str, metric: str) -> float | None:
    """Return the median of a figure, or None if the loop has no run of this row."""
    figures = row["summary"].get(loop, {}).get("figures", {})
    return figures[metric]["median"] if metric in figures else None


def ratio_of(row: Json, loop: str, metric: str) -> float | None:
    """Return the median ratio to the reference, or None if there are no pairs."""
    ratios = row["summary"].get(loop, {}).get("ratios", {})
    return ratios[metric]["median"] if metric in ratios else None


def number(value: float | None) -> str:
    """Return a figure with as many digits as it deserves, or a dash for none."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def missing_cell(report: Json, row: Json, loop: str) -> str:
    """Return what stands where a loop has no figure: that it failed, cannot, or took no part."""
    failed = any(f["row"] == row["name"] and f["loop"] == loop for f in report["failures"])
    if failed:
        return "failed"
    return "none" if loop in row["gaps"] else "-"


def mark_if_saturated(row: Json, loop: str) -> str:
    """Return the mark for figures that the load generator, not the server, bounded."""
    share = median_of(row, loop, "load_cpu_share")
    return SATURATED_MARK if share is not None and share > SATURATED_SHARE else ""


def fill(
    report: Json, table: Table, rows: list[Json], loops: list[str], cell: Callable[[Json, str], str]
) -> None:
    """Add a line for each row with a cell for each loop, and the notes that the cells call for."""
    for row in rows:
        cells = [
            cell(row, loop) if loop in row["summary"] else missing_cell(report, row, loop)
            for loop in loops
        ]
        table.rows.append([row["title"], *cells])
    if any(SATURATED_MARK in text for line in table.rows for text in line):
        table.notes.append(
            f"{SATURATED_MARK} the load generator used over {SATURATED_SHARE:.0%} of its core: "
            "the server could have done more"
        )
    gaps = {(loop, reason) for row in rows for loop, reason in row["gaps"].items()}
    table.notes += [f"none, {loop}: {reason}" for loop, reason in sorted(gaps)]


def ratio_table(report: Json, group: str, rows: list[Json]) -> Table:
    """Requests a second as a ratio to the reference, with the ratio of CPU in brackets."""
    loops = [loop for loop in loops_of(rows) if loop != REFERENCE]
    table = Table(
        group,
        f"{group}: requests/s as a ratio to {REFERENCE} (CPU per request as a ratio)",
        ["", f"{REFERENCE} requests/s", *loops],
    )

    def cell(row: Json, loop: str) -> str:
        requests = number(median_of(row, loop, "requests_per_second"))
        mark = mark_if_saturated(row, loop)
        if loop == REFERENCE:
            return requests + mark
        ratio, cpu = (ratio_of(row, loop, m) for m in ("requests_per_second", "cpu_us_per_request"))
        if ratio is None:
            return f"{requests}/s{mark}"
        return f"{ratio:.2f} ({number(cpu)}){mark}"

    fill(report, table, rows, [REFERENCE, *loops], cell)
    return table


def latency_table(report: Json, rows: list[Json]) -> Table:
    """Latency of each loop: median and 99th percentile."""
    loops = loops_of(rows)
    table = Table("latency", "latency, us: p50 / p99", ["", *loops])

    def cell(row: Json, loop: str) -> str:
        low, high = (number(median_of(row, loop, name)) for name in ("p50_us", "p99_us"))
        return f"{low} / {high}"

    fill(report, table, rows, loops, cell)
    return table


def absolute_table(report: Json, group: str, rows: list[Json]) -> Table:
    """The headline figure of each loop as it is; lower is better."""
    loops = loops_of(rows)
    units = sorted({row["unit"] for row in rows})
    table = Table(group, f"{group}, {', '.join(units)} (lower is better)", ["", *loops])
    fill(report, table, rows, loops, lambda row, loop: number(median_of(row, loop, row["metric"])))
    return table


def profile_table(report: Json, rows: list[Json]) -> Table:
    """CPU time of a request on each loop by part, and what a loop that cost nothing would gain."""
    parts = ("kernel", "loop", "libc", "rest")
    table = Table("profile", "CPU us per request, and where they go",
                  ["", "loop", "all", *parts, f"rest of {REFERENCE}'s all", "system calls",
                   "sleeps"])
    for row in rows:
        reference = median_of(row, REFERENCE, "cpu_us_per_request")
        for loop in loops_of([row]):
            figures = [median_of(row, loop, name) for name in
                       ("cpu_us_per_request", *(f"{part}_us" for part in parts))]
            rest = figures[-1]
            share = f"{rest / reference:.2f}" if rest and reference else "-"
            counts = [number(median_of(row, loop, name)) for name in ("system_calls", "sleeps")]
            table.rows.append([row["title"], loop, *map(number, figures), share, *counts])
    return table


def idle_table(report: Json, rows: list[Json]) -> Table:
    """What active connections do alone and beside idle ones, and what an idle one takes."""
    table = Table(
        "idle", "Active connections beside idle ones",
        ["", "loop", "requests/s alone", "beside idle ones", "ratio", "ratios of the rounds",
         "CPU us alone", "beside idle ones", "p99 us alone", "beside idle ones",
         "KiB an idle connection"],
    )
    names = ("alone_requests_per_second", "requests_per_second", "ratio")
    more = ("alone_cpu_us_per_request", "cpu_us_per_request", "alone_p99_us", "p99_us",
            "resident_kib")
    for row in rows:
        for loop in loops_of([row]):
            if loop not in row["summary"]:
                table.rows.append([row["title"], loop, missing_cell(report, row, loop)])
                continue
            ratio = row["summary"][loop]["figures"]["ratio"]
            table.rows.append(
                [row["title"], loop, *[number(median_of(row, loop, name)) for name in names],
                 f"{ratio['min']:.3f} to {ratio['max']:.3f}",
                 *[number(median_of(row, loop, name)) for name in more]]
            )
    if any(row["parameters"].get("servers", 1) > 1 for row in rows):
        table.notes.append(
            f"A process may have {report['parameters']['descriptors']:,} descriptors on this "
            "machine (`ulimit -Hn`): the servers share the idle connections. The active ones are "
            "the first server's, and so is the memory."
        )
    return table


def demo_table(report: Json, group: str, rows: list[Json]) -> Table:
    """One line for each route and loop, with every figure."""
    table = Table(
        group,
        "aiohttp server under wrk",
        ["route", "loop", "requests/s", "min to max", "CPU us/request", "p50 us", "p99 us",
         f"requests/s to {REFERENCE}", f"CPU to {REFERENCE}"],
    )
    for row in rows:
        for loop in loops_of([row]):
            if loop not in row["summary"]:
                table.rows.append([row["title"], loop, missing_cell(report, row, loop)])
                continue
            requests = row["summary"][loop]["figures"]["requests_per_second"]
            others = [median_of(row, loop, m) for m in ("cpu_us_per_request", "p50_us", "p99_us")]
            ratios = [ratio_of(row, loop, m) for m in ("requests_per_second", "cpu_us_per_request")]
            table.rows.append(
                [row["title"], loop, number(requests["median"]),
                 f"{number(requests['min'])} to {number(requests['max'])}",
                 *[number(value) for value in others], *[number(value) for value in ratios]]
            )
    return table


def describe_rounds(report: Json) -> str:
    """Return how many rounds a run has, how long each measures, and how long servers were kept."""
    parameters, groups = report["parameters"], {row["group"] for row in report["rows"]}
    text = f"{parameters['rounds']} interleaved rounds"
    if "seconds" in parameters:
        seconds, whole = parameters["seconds"], whole_seconds(parameters["seconds"])
        text += f" of {seconds:g} s"
        if whole != seconds and "web" in groups:
            text += f" (wrk: {whole} s)"
    if (keep := parameters.get("keep", 1)) > 1 and groups.intersection(SERVED_GROUPS):
        text += f", at most {min(keep, parameters['rounds'])} on each server"
    return text


def describe_run(report: Json) -> str:
    """Return in one line where, when and with what the figures were taken."""
    machine, versions = report["machine"], report["versions"]
    loops = ", ".join(
        f"{name} {version}" for name, version in report["loops"].items() if name != "asyncio"
    )
    commit = report["git"]["commit"][:10] + (" with changes" if report["git"]["modified"] else "")
    text = (
        f"Medians of {describe_rounds(report)}; "
        f"Python {versions['python']}, {loops}; Linux {machine['kernel']} "
        f"(TCP by {machine['tcp_congestion_control']}), {machine['cpu']}, "
        f"{machine['cores']} cores; {report['date'][:10]}, commit {commit}."
    )
    if report["runs_on_busy_machine"]:
        text += (
            f" In {report['runs_on_busy_machine']} of {report['runs']} runs other processes used "
            "more than a tenth of a core, or the cores shared no cache."
        )
    if not report["complete"]:
        text += " The run was interrupted."
    return text
