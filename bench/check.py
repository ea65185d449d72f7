"""The quick comparison before a commit: ``python -m bench.check``, or ``make bench-check``.

Measures loopx and the reference on the rows of a recorded report, interleaved as in ``bench.run``
but briefly, and fails where loopx has not kept its ratio (``bench.verdict``). What is too slow at
first is measured again, with more rounds, before it counts: machines are noisy. Owns the order of
the two passes and their time; writes no file.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench import report
from bench.build import BuildError, executable
from bench.clients import Metrics
from bench.core_distance import core_distance
from bench.loops import REFERENCE, SUBJECT
from bench.measure import measure
from bench.options import at_least, time_s
from bench.results import (
    Failure, RowResult, describe_machine, describe_versions, is_disturbed, load,
)
from bench.rows import Row, all_rows, choose_rows
from bench.run import Display, choose_loops
from bench.schedule import plan_row, run_rounds
from bench.verdict import LEAST_SHARE, Judgement, Outcome, judge, judge_row, recorded_ratios

LOOPS = (REFERENCE, SUBJECT)
AGAIN_ROUNDS = range(5, 16)
SECONDS_TO_WAIT = 20.0    # in all, for cores that share a cache
SAME_MACHINE = ("kernel", "cpu", "cores")
SAME_VERSIONS = ("python", f"loop {REFERENCE}")


@dataclass
class Measuring:
    """What was measured so far, and how long a round of each row took."""

    console: Console
    seconds: float
    deadline: float
    results: dict[str, tuple[RowResult, list[Failure]]] = field(default_factory=dict)
    round_seconds: dict[str, float] = field(default_factory=dict)
    runs: int = 0
    busy_runs: int = 0

    def measure_run(self, row: Row, loop: str) -> Metrics:
        """Measure once. A disturbed run is only counted: repeating it could take for ever."""
        metrics = measure(row, loop, self.seconds)
        self.runs += 1
        self.busy_runs += is_disturbed(metrics, core_distance.near_ns)
        return metrics

    def measure(self, rows: list[Row], rounds: int) -> None:
        """Measure rows one after the other; figures replace earlier ones of the same row."""
        plans = [plan_row(row, LOOPS) for row in rows]
        display = Display(self.console, rounds * sum(len(plan.loops) for plan in plans))
        with display.progress:
            for plan in plans:
                began = monotonic()
                self.results[plan.row.name] = run_rounds(
                    plan, rounds, self.measure_run, display.notify
                )
                self.round_seconds[plan.row.name] = (monotonic() - began) / rounds

    def remaining_seconds(self) -> float:
        """Return how much time is left."""
        return self.deadline - monotonic()


def rounds_again(slow: Iterable[Judgement], measuring: Measuring) -> int:
    """Return as many rounds as there is time for on all rows that are left, within reason."""
    needed = sum(measuring.round_seconds[each.row] for each in slow)
    rounds = int(measuring.remaining_seconds() / needed)
    return min(max(rounds, AGAIN_ROUNDS[0]), AGAIN_ROUNDS[-1])


def confirm(judgements: list[Judgement], measuring: Measuring, fixed_rounds: int | None) -> None:
    """Measure what was too slow again, the slowest first, and judge by the new figures alone.

    What there is no time for is left undecided, which is no pass either.
    """
    slow = sorted((each for each in judgements if each.outcome is Outcome.SLOWER),
                  key=lambda each: each.share)
    for done, first in enumerate(slow):
        rounds = fixed_rounds or rounds_again(slow[done:], measuring)
        if measuring.round_seconds[first.row] * rounds > measuring.remaining_seconds():
            latest = replace(first, outcome=Outcome.UNDECIDED, reason=(
                f"{first.describe().partition(': ')[2]}; no time left to measure it again"
            ))
        else:
            measuring.console.print(f"too slow, once more: {first.describe()}", highlight=False)
            measuring.measure(choose_rows(first.row), rounds)
            latest = judge_row(first.row, first.recorded, measuring.results)
        judgements[judgements.index(first)] = latest


def print_judgements(console: Console, judgements: list[Judgement], measuring: Measuring) -> None:
    """Print a line for each row, then a sentence for each that is no plain pass."""
    table = Table(box=box.SIMPLE)
    table.add_column(f"ratio of {SUBJECT} to {REFERENCE}", no_wrap=True)
    for name in ("measured", "recorded", "threshold", "rounds"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    for each in judgements:
        kept = [each.recorded.ratio, each.recorded.threshold] if each.recorded else [None, None]
        rounds = {run.round for run in measuring.results[each.row][0].runs} \
            if each.row in measuring.results else ()
        figures = ["-" if value is None else f"{value:.3f}" for value in [each.measured, *kept]]
        table.add_row(each.row, *figures, str(len(rounds)), each.outcome,
                      style="" if each.is_pass else "red")
    console.print(table)
    for each in judgements:
        if each.outcome is not Outcome.KEPT:
            console.print(f"{each.outcome}: {each.describe()}", highlight=False, markup=False,
                          style="" if each.is_pass else "red", soft_wrap=True)


def differences(recorded: dict[str, Any]) -> list[str]:
    """Return what differs between the recorded report's surroundings and these."""
    here = describe_machine(), describe_versions(dict(zip(LOOPS, versions_here(), strict=True)))
    then = recorded["machine"], recorded["versions"]
    return [
        f"{name}: {old.get(name)}, now {new.get(name)}"
        for old, new, names in zip(then, here, (SAME_MACHINE, SAME_VERSIONS), strict=True)
        for name in names
        if old.get(name) != new.get(name)
    ]


def versions_here() -> list[str]:
    """Return the versions of the two loops. Raises ValueError if one of them is absent."""
    present, _, _ = choose_loops(",".join(LOOPS))
    return [present[loop] for loop in LOOPS]


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.check",
        description=f"Fail where {SUBJECT}'s ratio to {REFERENCE} is below {LEAST_SHARE:.0%} of "
                    "the recorded one.",
    )
    parser.add_argument("--recorded", default="io", metavar="NAME",
                        help="a JSON file, or NAME of bench/results/NAME.json (default io)")
    parser.add_argument("--also", metavar="GLOB,...",
                        help="rows to measure besides the recorded ones; they are not judged")
    parser.add_argument("--rounds", type=at_least(1), default=2, help="at first (default 2)")
    parser.add_argument("--again-rounds", type=at_least(1), metavar="ROUNDS",
                        help="on a row that is too slow at first (default: "
                             f"{AGAIN_ROUNDS[0]} to {AGAIN_ROUNDS[-1]}, as time allows)")
    parser.add_argument("--seconds", type=time_s, default=0.4,
                        help="length of the measured window (default 0.4; wrk takes whole seconds)")
    parser.add_argument("--time-limit", type=time_s, default=170.0, metavar="SECONDS",
                        help="no row is measured again after so long (default 170)")
    return parser.parse_args()


def main() -> int:
    """Return 0 if every recorded row kept its ratio, 1 if not, 2 if nothing could be measured."""
    console = report.make_console()
    arguments = parse_arguments()
    deadline = monotonic() + arguments.time_limit
    if (os.cpu_count() or 1) < 2:
        console.print("the benchmarks need two cores: one for the server, one for the load")
        return 2
    try:
        stored = load(report.find_results(arguments.recorded))
        recorded = recorded_ratios(stored)
        wanted = set(recorded)
        if arguments.also is not None:
            wanted |= {row.name for row in choose_rows(arguments.also)}
        notes = differences(stored)
        executable("echo_load")
    except (OSError, ValueError, BuildError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    for note in notes:
        console.print(f"recorded elsewhere: {note}", highlight=False, markup=False)
    core_distance.seconds_to_wait = SECONDS_TO_WAIT
    measuring = Measuring(console, arguments.seconds, deadline)
    try:
        measuring.measure([row for row in all_rows() if row.name in wanted], arguments.rounds)
        judgements = judge(recorded, measuring.results)
        confirm(judgements, measuring, arguments.again_rounds)
    except KeyboardInterrupt:
        console.print("interrupted: nothing is known")
        return 1
    print_judgements(console, judgements, measuring)
    if measuring.busy_runs:
        console.print(f"In {measuring.busy_runs} of {measuring.runs} runs other processes used "
                      "more than a tenth of a core, or the cores shared no cache: the fewer, the "
                      "better the figures.")
    took = arguments.time_limit - measuring.remaining_seconds()
    failed = [each for each in judgements if not each.is_pass]
    console.print(f"{len(judgements) - len(failed)} of {len(judgements)} rows are in order "
                  f"({took:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
