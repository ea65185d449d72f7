"""How far apart the two cores are at this moment: a host may run them on chiplets of their own.

Owns the probe (``load/core_distance.c``) and what this process has learnt by it. The host of a
virtual machine moves its cores, and no clock inside shows it: while they share no cache, all that
passes between server and load takes several times as long, whichever loop is being measured. Used
from the driver's main thread only.
"""

from __future__ import annotations

import math
from time import monotonic, sleep

from bench.build import executable
from bench.paths import LOAD_CORE, SERVER_CORE
from bench.processes import run_pinned

APART = 2.0
PROBE_TIMEOUT_SECONDS = 10.0
PAUSE_SECONDS = 0.1


class CoreDistance:
    """The least distance of the cores so far, and for how long runs may yet wait for it."""

    def __init__(self) -> None:
        self.least_ns = math.inf
        self.seconds_to_wait = math.inf

    def measure_ns(self) -> float:
        """Return the nanoseconds for a cache line to travel to the other core and back."""
        cores = [SERVER_CORE, LOAD_CORE]
        command = [str(executable("core_distance")), *map(str, cores)]
        distance_ns = float(run_pinned(command, cores, PROBE_TIMEOUT_SECONDS))
        self.least_ns = min(self.least_ns, distance_ns)
        return distance_ns

    def await_near_ns(self, timeout_seconds: float) -> float:
        """Wait until the cores are near, at most for so long; return their last distance."""
        began = monotonic()
        deadline = began + min(timeout_seconds, self.seconds_to_wait)
        while is_apart(distance_ns := self.measure_ns(), self.least_ns) and monotonic() < deadline:
            sleep(PAUSE_SECONDS)
        self.seconds_to_wait -= monotonic() - began
        return distance_ns


def is_apart(distance_ns: float, least_ns: float) -> bool:
    """Return whether the cores are much further apart than they can be."""
    return distance_ns > APART * least_ns


core_distance = CoreDistance()
