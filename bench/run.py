"""Command line of the benchmark suite: ``python -m bench.run``.

Owns the choice of rows and loops, the progress display and the exit code: 0 only if every run was
clean. Results go to ``bench/results/NAME.json`` after every row, and charts beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn

from bench import report
from bench.build import BuildError, executable
from bench.clients import Metrics
from bench.loops import LOOPS, REFERENCE, probe
from bench.measure import LIMIT_COMMANDS, measure, measure_undisturbed, warm_server
from bench.options import at_least, time_s
from bench.results import Failure, Report, RowResult
from bench.rows import LIMITS, SERVED_GROUPS, Row, all_rows, choose_rows
from bench.schedule import KeptServers, Notify, Plan, plan_row, run_rounds


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description="Measure event loops, row by row."
    )
    parser.add_argument(
        "--rows", default="*", metavar="GLOB,...",
        help="rows to measure: names with wildcards, or 'anchors' for those with a target",
    )
    parser.add_argument(
        "--loops", metavar="A,B", help="loops and C limits; default: every one that is installed"
    )
    parser.add_argument(
        "--rounds", type=at_least(1), default=7, help="interleaved rounds (default 7)"
    )
    parser.add_argument(
        "--keep", type=at_least(1), default=4, metavar="ROUNDS",
        help="rounds after which a server is replaced (default 4); with more than 1, the servers "
             "of all loops are up at once, in rows that have servers",
    )
    parser.add_argument(
        "--seconds", type=time_s, default=0.3,
        help="length of the measured window (default 0.3; wrk rounds it to whole seconds)",
    )
    parser.add_argument(
        "--retries", type=at_least(0), default=2,
        help="how often a run is repeated while other processes use the machine (default 2)",
    )
    parser.add_argument("--output", default="bench", metavar="NAME", help="bench/results/NAME.json")
    parser.add_argument("--list", action="store_true", help="print the names of all rows and loops")
    return parser.parse_args()


def choose_loops(wanted: str | None) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Return the loops present (with version), those absent (with reason), and the C limits.

    Raises ValueError for an unknown name, and for a loop that was asked for by name and is absent.
    """
    names = list(LOOPS) + list(LIMITS) if wanted is None else wanted.split(",")
    unknown = [name for name in names if name not in LOOPS and name not in LIMITS]
    if unknown:
        raise ValueError(f"unknown loop: {', '.join(unknown)}")
    present: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name in names:
        if name in LOOPS:
            result = probe(name)
            if result.version is None:
                absent[name] = str(result.absent)
            else:
                present[name] = result.version
    if wanted is not None and absent:
        raise ValueError("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    return present, absent, [name for name in names if name in LIMITS]


class Display:
    """The progress line; it shows each figure as it comes."""

    def __init__(self, console: Console, runs: int) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console,
        )
        self.task = self.progress.add_task("starting", total=runs)

    def notify(self, row: Row, number: int, loop: str, metrics: Metrics | None) -> None:
        """Show that a run begins (``metrics`` is None) or its headline figure."""
        if metrics is None:
            self.progress.update(self.task, description=f"{row.name} round {number + 1} {loop}")
            return
        self.progress.advance(self.task)
        if not self.console.is_terminal:
            figure = f"{metrics[row.metric]:,.1f} {row.unit}"
            self.console.print(f"{row.name} round {number + 1} {loop}: {figure}", highlight=False)


def measure_plan(
    plan: Plan, parameters: dict[str, Any], notify: Notify
) -> tuple[RowResult, list[Failure]]:
    """Measure one row: a fresh process for each run, or servers that are kept for some rounds."""
    rounds, seconds, retries, keep = (
        parameters[name] for name in ("rounds", "seconds", "retries", "keep")
    )
    if keep == 1 or plan.row.group not in SERVED_GROUPS:
        return run_rounds(
            plan, rounds,
            lambda row, loop: measure_undisturbed(partial(measure, row, loop, seconds), retries),
            notify,
        )
    with KeptServers(keep, partial(warm_server, seconds=seconds)) as servers:
        return run_rounds(
            plan, rounds,
            lambda row, loop: measure_undisturbed(partial(servers.measure, row, loop), retries),
            notify, servers.begin_round,
        )


def run_suite(console: Console, plans: list[Plan], result: Report) -> None:
    """Measure every planned row; write the report after each."""
    runs = result.parameters["rounds"] * sum(len(plan.loops) for plan in plans)
    display = Display(console, runs)
    with display.progress:
        for plan in plans:
            row_result, failures = measure_plan(plan, result.parameters, display.notify)
            result.rows.append(row_result)
            result.failures += failures
            for failure in failures:
                console.print(f"FAILED {failure.row} on {failure.loop}: {failure.reason}",
                              style="red", highlight=False, markup=False)
            result.write()
    result.complete = True
    result.write()


def print_lists(console: Console) -> None:
    """Print the names that --rows and --loops take."""
    for row in all_rows():
        console.print(row.name, "(anchor)" if row.is_anchor else "", highlight=False)
    console.print("loops:", ", ".join([*LOOPS, *LIMITS]), highlight=False)


def main() -> int:
    """Run the suite; return 0 if every run was clean, 1 if one failed, 2 for a wrong option."""
    console = report.make_console()
    arguments = parse_arguments()
    if arguments.list:
        print_lists(console)
        return 0
    if (os.cpu_count() or 1) < 2:
        console.print("the benchmarks need two cores: one for the server, one for the load")
        return 2
    try:
        rows = choose_rows(arguments.rows)
        present, absent, limits = choose_loops(arguments.loops)
        for program in {LIMIT_COMMANDS[limit][0] for limit in limits} | {"echo_load"}:
            executable(program)
    except (ValueError, BuildError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    for name, reason in absent.items():
        console.print(f"absent: {name}: {reason}", highlight=False, markup=False)
    if REFERENCE not in present:
        console.print(f"without {REFERENCE} there are no ratios")
    result = Report(
        name=arguments.output,
        command="python -m bench.run " + " ".join(sys.argv[1:]),
        parameters={
            "rounds": arguments.rounds,
            "keep": arguments.keep,
            "seconds": arguments.seconds,
            "retries": arguments.retries,
        },
        loops=present,
        absent=absent,
    )
    plans = [plan_row(row, [*present, *limits]) for row in rows]
    from bench import charts  # needs matplotlib, which refusing bad options does not

    try:
        run_suite(console, plans, result)
    except KeyboardInterrupt:
        console.print("interrupted: finished rows are kept")
    data = result.to_json()
    report.print_tables(console, data)
    for path in charts.write_charts(data, result.path.parent):
        console.print(f"chart: bench/results/{path.name}")
    console.print(f"results: bench/results/{result.path.name}")
    return 0 if result.complete and not result.failures else 1


if __name__ == "__main__":
    sys.exit(main())
