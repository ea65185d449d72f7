"""The threads that name lookups run in.

Owns the threads and the queue of jobs. Called on the loop's own thread only, but for `shutdown` and
what runs in the threads, `_work`. That knows the queue alone: a pool whose loop nobody closed goes
away, and has its threads end. Must not make the loop's thread wait.

Instead of a ThreadPoolExecutor, which takes 40 us where this takes 20: a job has no future beside
asyncio's and takes no lock. Its threads hold up no exit, as a resolver that does not answer would.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

_T = TypeVar("_T")
_Finish: TypeAlias = Callable[["asyncio.Future[Any]", Any, "BaseException | None"], None]
_Job: TypeAlias = tuple["asyncio.Future[Any]", _Finish, Callable[..., Any], tuple[Any, ...]]


class LookupPool:
    """Up to `threads_max` threads, made when no idle one is left."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._unfinished = 0

    def submit(self, future: asyncio.Future[_T], func: Callable[..., _T], *args: Any) -> None:
        """Have `func(*args)` called; its result or exception becomes that of `future`.

        Not called any more where the future is cancelled before. RuntimeError when there is no
        thread and none can be made.
        """
        if self._unfinished >= len(self._threads) < self._threads_max:
            self._start_thread()
        self._unfinished += 1
        self._jobs.put((future, self._finish, func, args))

    def shutdown(self, wait: bool) -> None:
        """Have the threads end once they have done what was submitted, and wait for that or not."""
        for _ in self._threads:
            self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def __del__(self) -> None:
        self.shutdown(wait=False)

    def _start_thread(self) -> None:
        name = f"loopx-lookup_{len(self._threads)}"
        thread = threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads; those that there are do it
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _finish(
        self, future: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        self._unfinished -= 1
        if future.done():  # cancelled
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def _work(jobs: queue.SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        _run(*job)
        del job  # it keeps the pool alive


def _run(
    future: asyncio.Future[Any],
    finish: _Finish,
    func: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    result: Any = None
    error: BaseException | None = None
    try:
        if not future.cancelled():
            result = func(*args)
    except BaseException as exc:
        error = exc
    try:
        future.get_loop().call_soon_threadsafe(finish, future, result, error)
    except RuntimeError:  # the loop was closed without waiting for us
        pass
    finally:
        del future, error  # whose traceback holds this frame
