"""Threads in tests: run something elsewhere, and know that a thread waits in the kernel.

Owns no state.  `Elsewhere` is used from the thread that runs the test; the callable that it is
given runs on a thread of its own.  Nothing here sleeps to give another thread time: it polls for
a condition that the kernel reports.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tests.support.patience import PATIENCE

JOIN_S = 30.0 * PATIENCE
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
# A thread in futex() waits for a lock, such as the interpreter's, and not for I/O.
FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 202)


def waits_in_kernel(native_id: int) -> bool:
    """Whether this thread of this process is blocked in a system call other than futex."""
    with open(f"/proc/self/task/{native_id}/syscall") as file:
        number = file.read().split()[0]
    return number != "running" and int(number) >= 0 and int(number) != FUTEX


def wait_until_blocked(native_id: int, timeout_s: float = 10.0) -> None:
    """Return when the thread is blocked in the kernel; TimeoutError if it never is."""
    deadline_s = time.monotonic() + timeout_s
    streak = 0
    while streak < 3:
        streak = streak + 1 if waits_in_kernel(native_id) else 0
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"thread {native_id} did not block within {timeout_s} s")
        os.sched_yield()


class Elsewhere:
    """Runs `work(*args)` on a new thread; leaving the block joins it and raises what it raised.

    The native id of the thread that made the object is kept as `maker_id`, for
    `wait_until_blocked`.
    """

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self.maker_id = threading.get_native_id()
        self.result: Any = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work, args), daemon=True)

    def _run(self, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            self.result = work(*args)
        except BaseException as failure:
            self._failure = failure

    def start(self) -> Elsewhere:
        self._thread.start()
        return self

    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> Any:
        """The result of the callable; TimeoutError if it does not end."""
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            raise TimeoutError("the thread did not end")
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure
        return self.result

    def __enter__(self) -> Elsewhere:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.join()
        else:
            self._thread.join(JOIN_S)


def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    """Run on a new thread that has ended when this returns."""
    return Elsewhere(work, *args).start().join()
