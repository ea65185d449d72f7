"""Interleaved rounds: for each row, in each round, every loop once, in rotated order.

Owns the order of runs, how long servers are kept, and what happens to a run that fails: the loop
gives no more runs of that row, those it gave are dropped (a failed run is an error, not a row), and
the suite goes on with the rest. Used from the driver's main thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType

from bench.clients import Metrics
from bench.loops import LOOPS
from bench.processes import RunError
from bench.results import Failure, RowResult, Run
from bench.rows import LIMITS, Row

MeasureRun = Callable[[Row, str], Metrics]
BeginRound = Callable[[Row, int, list[str]], None]
StartServer = Callable[[Row, str], AbstractContextManager[Callable[[], Metrics]]]
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


class KeptServers:
    """The servers of one row: all are up at once and stay so for ``keep`` rounds.

    Then others take their place: how a process lies in memory, and its hash seed, are luck. Used as
    a context manager; no server outlives it. ``start_server`` gives what measures a window.
    """

    def __init__(self, keep: int, start_server: StartServer) -> None:
        self.keep = keep
        self.start_server = start_server
        self.running: dict[str, ExitStack] = {}
        self.windows: dict[str, Callable[[], Metrics]] = {}
        self.unstarted: dict[str, RunError] = {}

    def __enter__(self) -> KeptServers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_all()

    def begin_round(self, row: Row, number: int, loops: list[str]) -> None:
        """Start new servers for ``loops`` if the present ones have served their time."""
        if number % self.keep == 0:
            self.stop_all()
            for loop in loops:
                self.start(row, loop)

    def start(self, row: Row, loop: str) -> None:
        """Start a server. One that does not come up is an error of the loop's next run."""
        server = self.running[loop] = ExitStack()
        try:
            self.windows[loop] = server.enter_context(self.start_server(row, loop))
        except RunError as error:
            self.unstarted[loop] = error

    def measure(self, _row: Row, loop: str) -> Metrics:
        """Measure the loop's server once, and stop it if that fails."""
        if loop in self.unstarted:
            raise self.unstarted[loop]
        try:
            return self.windows[loop]()
        except RunError:
            self.running.pop(loop).close()
            raise

    def stop_all(self) -> None:
        """Stop every server, also when stopping another one fails."""
        with ExitStack() as stopping:
            for server in self.running.values():
                stopping.callback(server.close)
        self.running.clear()


def run_rounds(
    plan: Plan,
    rounds: int,
    measure_run: MeasureRun,
    notify: Notify,
    begin_round: BeginRound = lambda *_: None,
) -> tuple[RowResult, list[Failure]]:
    """Measure one row in ``rounds`` interleaved rounds.

    ``begin_round`` is called with the loops that have not failed, in the order of the round's runs;
    ``notify`` before each run (with None) and after it (with its figures).
    """
    result = RowResult(plan.row, gaps=dict(plan.gaps))
    failures: dict[str, Failure] = {}
    for number in range(rounds):
        order = rotated(plan.loops, number)
        begin_round(plan.row, number, [loop for loop in order if loop not in failures])
        for position, loop in enumerate(order):
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
