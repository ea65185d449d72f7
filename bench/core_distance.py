"""How far apart the two cores are at this moment: a host may run them on chiplets of their own.

Owns the probe (``load/core_distance.c``) and what this process has learnt by it. The host of a
virtual machine moves its cores, and no clock inside shows it: while they share no cache, all that
passes between server and load takes several times as long, whichever loop is being measured. On
some hosts they are, for a moment and once in hundreds of runs, two threads of one core, and nearer
than they will ever be again: what counts as near is therefore what a tenth of the runs had. Used
from the driver's main thread only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from time import monotonic, sleep

from bench.build import executable
from bench.paths import LOAD_CORE, SERVER_CORE
from bench.processes import run_pinned

APART = 2.0
NEAREST_OF = 10
PROBE_TIMEOUT_SECONDS = 10.0
PAUSE_SECONDS = 0.1


class CoreDistance:
    """The distances of the cores so far, and for how long runs may yet wait for near ones."""

    def __init__(self) -> None:
        self.found_ns: list[float] = []
        self.seconds_to_wait = math.inf

    @property
    def near_ns(self) -> float:
        """The distance that counts as near."""
        return near_ns(self.found_ns)

    def measure_ns(self) -> float:
        """Return the nanoseconds for a cache line to travel to the other core and back."""
        distance_ns = self.probe_ns()
        self.found_ns.append(distance_ns)
        return distance_ns

    def await_near_ns(self, timeout_seconds: float) -> float:
        """Wait until the cores are near, at most for so long; return their last distance.

        What is found while waiting does not count, or else apart would be near if it lasts.
        """
        began = monotonic()
        deadline = began + min(timeout_seconds, self.seconds_to_wait)
        distance_ns = self.measure_ns()
        while is_apart(distance_ns, self.near_ns) and monotonic() < deadline:
            sleep(PAUSE_SECONDS)
            distance_ns = self.probe_ns()
        self.seconds_to_wait -= monotonic() - began
        return distance_ns

    @staticmethod
    def probe_ns() -> float:
        """Run the probe."""
        cores = [SERVER_CORE, LOAD_CORE]
        command = [str(executable("core_distance")), *map(str, cores)]
        return float(run_pinned(command, cores, PROBE_TIMEOUT_SECONDS))


def near_ns(found_ns: Iterable[float]) -> float:
    """Return the distance that counts as near: that of the nearest tenth, or infinity of none."""
    ordered = sorted(found_ns)
    return ordered[len(ordered) // NEAREST_OF] if ordered else math.inf


def is_apart(distance_ns: float, near_ns: float) -> bool:
    """Return whether the cores are much further apart than near ones."""
    return distance_ns > APART * near_ns


core_distance = CoreDistance()
