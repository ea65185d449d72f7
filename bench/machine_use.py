"""What else the machine did while a run was measured.

Owns the figures by which a run counts as disturbed; what was measured has no say in them. Used from
the driver's main thread only.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from types import TracebackType

from bench.core_distance import core_distance
from bench.processes import process_cpu_seconds

NEAR_TIMEOUT_SECONDS = 10.0


class MachineUse:
    """How much CPU others took while a run was measured, and how far apart the cores were.

    Used as a context manager around a run, which begins when the cores are near each other or
    NEAR_TIMEOUT_SECONDS are over. Then ``other_cpu_share`` is the CPU time, as a share of one core,
    that went neither to ``server_pid`` nor to this process and its ended children, ``steal_share``
    the part that the hypervisor took, and ``core_distance_ns`` the larger of two, before and after.
    """

    def __init__(self, server_pid: int | None) -> None:
        self.server_pid = server_pid
        self.other_cpu_share = 0.0
        self.steal_share = 0.0

    def __enter__(self) -> MachineUse:
        self.core_distance_ns = core_distance.await_near_ns(NEAR_TIMEOUT_SECONDS)
        self.before = self.sample()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        after = self.sample()
        elapsed, busy, ours, stolen = (a - b for a, b in zip(after, self.before, strict=True))
        self.other_cpu_share = max(busy - ours, 0.0) / elapsed
        self.steal_share = stolen / elapsed
        self.core_distance_ns = max(self.core_distance_ns, core_distance.measure_ns())

    def figures(self) -> dict[str, float]:
        """Return them by name, as they stand beside a run's own."""
        return {
            "other_cpu_share": self.other_cpu_share,
            "steal_share": self.steal_share,
            "core_distance_ns": self.core_distance_ns,
        }

    def sample(self) -> tuple[float, float, float, float]:
        """Return (now, busy, ours, stolen), all in seconds."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        ticks_per_second = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, softirq, steal = ticks[:8]
        ours = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            ours += usage.ru_utime + usage.ru_stime
        if self.server_pid is not None:
            ours += process_cpu_seconds(self.server_pid)
        busy = (user + nice + system + irq + softirq) / ticks_per_second
        return time.monotonic(), busy, ours, steal / ticks_per_second
