"""The threads that name lookups run in.

Owns the threads; what they do and how they hear of it is `loopx/io/lookups.pxi`. Called on the
loop's own thread only, but for `shutdown`. The threads know the queue alone: a pool whose loop
nobody closed goes away, and has them end. Must not make the loop's thread wait.

Instead of a ThreadPoolExecutor, whose threads need the GIL to begin: a lookup of `localhost` takes
a third of the time. These hold up no exit, as a resolver that does not answer would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from loopx._core import LoopCore, Lookup, LookupQueue


class LookupPool:
    """Up to `threads_max` threads, made when no idle one is left."""

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._threads: list[threading.Thread] = []
        self._queue = LookupQueue()
        self._unfinished: set[Lookup] = set()

    def query(
        self, loop: LoopCore, host: bytes | None, service: bytes | None, hints: tuple[int, ...]
    ) -> Lookup:
        """getaddrinfo(3) with its hints: family, type, protocol, flags. No null bytes.

        RuntimeError when there is no thread and none can be made.
        """
        self._need_thread()
        return self._queue.add_query(loop, self._unfinished, host, service, hints)

    def call(self, loop: LoopCore, func: Callable[[], object]) -> Lookup:
        """`func()`. RuntimeError as of `query`."""
        self._need_thread()
        return self._queue.add_call(loop, self._unfinished, func)

    def shutdown(self, wait: bool) -> None:
        """Have the threads end once they have done what was submitted, and wait for that or not."""
        self._queue.end()
        if wait:
            for thread in self._threads:
                thread.join()

    def close(self) -> None:
        """Have them end once they have done what they are at: the loop is about to be closed."""
        self._queue.leave_loop(self._unfinished)
        self._queue.end()

    def __del__(self) -> None:
        self._queue.end()

    def _need_thread(self) -> None:
        if not len(self._unfinished) >= len(self._threads) < self._threads_max:
            return
        name = f"loopx-lookup_{len(self._threads)}"
        thread = threading.Thread(target=self._queue.work, name=name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads; those that there are do it
            self._threads.remove(thread)
            if not self._threads:
                raise
