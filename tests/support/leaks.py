"""What a test must leave as it found it: descriptors, loop objects, threads.

Owns the snapshots that conftest.py compares around each test.  Runs on the thread of the tests.
It must not keep what it looks at alive: only numbers and names are stored.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import sysconfig
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.support.patience import PATIENCE

WATCHED = (asyncio.BaseTransport, asyncio.Handle, asyncio.AbstractEventLoop, asyncio.Task)
NATIVE = ("Handle", "TimerHandle", "StreamTransport", "Acceptor", "LoopCore")
THREAD_GRACE_S = 5.0 * PATIENCE
COLLECTIONS_MAX = 4
PAUSE_S = 0.05
# Free-threaded 3.13 never frees a class once there was a second thread, nor what the class's
# methods close over: no fault of a loop.
KEEPS_CLASSES = bool(sysconfig.get_config_var("Py_GIL_DISABLED")) and sys.version_info < (3, 14)


def open_descriptors() -> dict[int, str]:
    """Number and target of each open descriptor of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor that listed the folder
            continue
    return found


def watched_types() -> tuple[type, ...]:
    core = sys.modules.get("loopx._core")
    native = (getattr(core, name, None) for name in NATIVE)
    return WATCHED + tuple(kind for kind in native if isinstance(kind, type))


def live_objects() -> Counter[str]:
    """How many loops, handles, transports and tasks the collector can see, by type."""
    watched = watched_types()
    # issubclass of the real type: isinstance would ask proxies for their __class__.
    verdicts: dict[type, bool] = {}
    counts: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        if kind not in verdicts:
            verdicts[kind] = issubclass(kind, watched)
        if verdicts[kind]:
            counts[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return counts


def new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    """Threads that are still there after a grace: an executor shut without waiting needs some."""
    deadline_s = time.monotonic() + THREAD_GRACE_S
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, deadline_s - time.monotonic()))
    return sorted(set(threading.enumerate()) - before, key=lambda thread: thread.name)


@dataclass
class Snapshot:
    """The state before a test."""

    descriptors: dict[int, str] = field(default_factory=open_descriptors)
    objects: Counter[str] = field(default_factory=live_objects)
    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))

    def complaints(self) -> list[str]:
        """What is there now and was not then, and stays.

        Looked for more than once: what a finaliser revives goes with the next collection, and an
        executor's thread lets go of its last item a little after it has answered.
        """
        for _ in range(COLLECTIONS_MAX):
            found = self.complaints_now()
            if not found:
                break
            time.sleep(PAUSE_S)
        return found

    def complaints_now(self) -> list[str]:
        """What is there after one collection and was not then."""
        found = [f"thread left running: {thread!r}" for thread in new_threads(self.threads)]
        gc.collect()
        for number, target in open_descriptors().items():
            if self.descriptors.get(number) != target:
                found.append(f"descriptor left open: {number} -> {target}")
        if KEEPS_CLASSES:
            return found
        for name, extra in (live_objects() - self.objects).items():
            found.append(f"objects left alive: {extra} x {name}")
        return found
