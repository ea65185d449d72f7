"""What else the machine did while a run was measured.

Owns the figures by which a run counts as disturbed; what was measured has no say in them. Used from
the driver's main thread only.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core_distance import core_distance
from bench.processes import process_cpu_seconds

NEAR_TIMEOUT_SECONDS = 10.0


@contextmanager
def machine_use(server_pid: int | None) -> Iterator[dict[str, float]]:
    """Find out how much CPU others take from the block's run, and how far apart the cores are.

    The block begins when the cores are near each other, or NEAR_TIMEOUT_SECONDS are over. What it
    is given is filled when it has ended: ``other_cpu_share`` is the CPU time, as a share of one
    core, that went neither to ``server_pid`` nor to this process and its ended children,
    ``steal_share`` the part that the hypervisor took, and ``core_distance_ns`` the larger of the
    distances before and after.
    """
    figures: dict[str, float] = {}
    distance_ns = core_distance.await_near_ns(NEAR_TIMEOUT_SECONDS)
    before = sample(server_pid)
    yield figures
    after = sample(server_pid)
    elapsed, busy, ours, stolen = (a - b for a, b in zip(after, before, strict=True))
    figures["other_cpu_share"] = max(busy - ours, 0.0) / elapsed
    figures["steal_share"] = stolen / elapsed
    figures["core_distance_ns"] = max(distance_ns, core_distance.measure_ns())


def sample(server_pid: int | None) -> tuple[float, float, float, float]:
    """Return (now, busy, ours, stolen), all in seconds."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal = ticks[:8]
    ours = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        ours += usage.ru_utime + usage.ru_stime
    if server_pid is not None:
        ours += process_cpu_seconds(server_pid)
    busy = (user + nice + system + irq + softirq) / ticks_per_second
    return time.monotonic(), busy, ours, steal / ticks_per_second
