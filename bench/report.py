"""Shows stored results: tables on the terminal, Markdown for the documentation, charts.

``python -m bench.report NAME`` prints tables. ``--markdown`` prints them as Markdown, ``--insert``
writes each into the files that have its markers, ``--check`` only tells whether they are up to
date, and ``--charts`` draws. A TABLE of a report called NAME goes between
``<!-- bench:NAME/TABLE -->`` and ``<!-- /bench -->``; other reports' markers are left alone.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from bench.loops import REFERENCE
from bench.paths import RESULTS
from bench.results import load
from bench.tables import Table, make_tables

PLAIN_WIDTH = 200
MARKED = re.compile(r"(<!-- bench:([\w.-]+)/([\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def make_console() -> Console:
    """Return a console as wide as the terminal; wide enough for every table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def print_tables(console: Console, report: dict[str, Any]) -> None:
    """Print every table, then what failed."""
    for table in make_tables(report):
        shown = RichTable(title=table.title, box=box.SIMPLE, title_justify="left")
        for index, name in enumerate(table.header):
            is_text = index == 0 or name == "loop"
            shown.add_column(name, justify="left" if is_text else "right", no_wrap=index == 0,
                             overflow="fold", style="bold" if name == REFERENCE else "")
        for line in table.rows:
            shown.add_row(*line)
        console.print(shown)
        for note in table.notes:
            console.print(note, style="dim", highlight=False, markup=False)
        console.print()
    for failure in report["failures"]:
        console.print(
            f"FAILED {failure['row']} on {failure['loop']} in round {failure['round'] + 1}: "
            f"{failure['reason'].splitlines()[0]}",
            style="red", highlight=False, markup=False,
        )


def to_markdown(table: Table) -> str:
    """Return the table as GitHub's Markdown, with its notes as a paragraph below."""
    width = len(table.header)
    align = ["---"] + ["---" if name == "loop" else "---:" for name in table.header[1:]]
    lines = [table.header, align, *[line + [""] * (width - len(line)) for line in table.rows]]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\n" + "\n".join(f"{note}  " for note in table.notes).rstrip() + "\n"


def insert_tables(text: str, name: str, tables: list[Table]) -> str:
    """Return ``text`` with each table of the report called ``name`` between its markers."""
    by_name = {table.name: table for table in tables}

    def replace(match: re.Match[str]) -> str:
        table = by_name.get(match[3]) if match[2] == name else None
        return match[0] if table is None else f"{match[1]}{to_markdown(table)}{match[4]}"

    return MARKED.sub(replace, text)


def update_files(
    paths: list[Path], name: str, tables: list[Table], check_only: bool
) -> list[Path]:
    """Insert the tables into the files; return those that changed, or would have changed."""
    changed = []
    for path in paths:
        before = path.read_text()
        after = insert_tables(before, name, tables)
        if after != before:
            changed.append(path)
            if not check_only:
                path.write_text(after)
    return changed


def find_results(name: str) -> Path:
    """Return the path of a stored report given as a path or as the NAME of --output."""
    path = Path(name)
    return path if path.suffix == ".json" else RESULTS / f"{name}.json"


def main() -> int:
    """Show one stored report; return 1 if --check finds a file out of date."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=main.__doc__)
    parser.add_argument("results", help="a JSON file, or the NAME given to --output")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument("--insert", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--check", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--charts", action="store_true", help="draw the charts beside the JSON")
    arguments = parser.parse_args()
    path = find_results(arguments.results)
    try:
        report = load(path)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    tables = make_tables(report)
    if arguments.markdown:
        for table in tables:
            print(f"**{table.title}**\n\n{to_markdown(table)}")
    if arguments.charts:
        from bench import charts

        for chart in charts.write_charts(report, path.parent):
            print(f"wrote {chart.name}")
    for changed in update_files(arguments.insert, report["name"], tables, check_only=False):
        print(f"updated {changed}")
    stale = update_files(arguments.check, report["name"], tables, check_only=True)
    for file in stale:
        print(f"out of date: {file}", file=sys.stderr)
    if not (arguments.markdown or arguments.charts or arguments.insert or arguments.check):
        print_tables(make_console(), report)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
