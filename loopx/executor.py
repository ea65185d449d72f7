"""Executors: `run_in_executor`, the default executor, and the pool that name lookups use.

Owns the two thread pools of a loop; neither exists before the first call that needs it. Called
on the loop's own thread only; `_join_pools` alone runs on a thread of its own, and reaches the
loop through `call_soon_threadsafe`. Must not keep a closed loop's threads waited for:
`_shut_pools`, called when the loop closes, never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from loopx.lookup_pool import LookupPool

if TYPE_CHECKING:
    from loopx._core import LoopCore
else:
    LoopCore = object

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

# Lookups have a pool of their own. A resolver that does not answer holds a thread for 5 to 30
# seconds; in the default executor (6 threads on a machine with 2 cores) a handful of dead names
# would stop every file read and every `to_thread` of the program, and slow file reads would stop
# every lookup. Threads are only made when no idle one is left, so the bound costs nothing.
_LOOKUP_THREADS = 32


def refuse_coroutine(callback: object, method: str) -> None:
    """Raise TypeError when `callback` is a coroutine (function), which `method` cannot run."""
    if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")


class ExecutorMixin(LoopCore):
    """What a loop hands to threads. State: the two pools, and whether they were shut down."""

    _default_executor: ThreadPoolExecutor | None = None
    _lookup_pool: LookupPool | None = None
    _executor_shutdown_called: bool = False

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Call `func(*args)` in `executor` (None: the default one) and return a future.

        The default executor is a ThreadPoolExecutor made by the first call that needs it.
        Raises RuntimeError when the loop is closed, or when the default executor is asked for
        after `shutdown_default_executor`; in debug mode TypeError for a coroutine function or
        for what cannot be called.
        """
        self._check_closed()
        if self.get_debug():
            refuse_coroutine(func, "run_in_executor")
            if not callable(func):
                raise TypeError(
                    f"a callable object was expected by run_in_executor(), got {func!r}"
                )
        if executor is None:
            executor = self._pool_for_default()
        return self._wrapped(executor.submit(func, *args))

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:
        """Make `executor` the default one. TypeError unless it is a ThreadPoolExecutor.

        An earlier default executor is not shut down: it belongs to whoever set it.
        """
        if not isinstance(executor, ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Refuse further work and wait until the pools' threads have ended.

        `timeout` is in seconds, None waits without limit. When it passes, a RuntimeWarning says
        so and the threads are left to end by themselves. The lookup pool is joined as well.
        """
        self._executor_shutdown_called = True
        pools: list[ThreadPoolExecutor | LookupPool] = [
            pool for pool in (self._default_executor, self._lookup_pool) if pool
        ]
        if not pools:
            return
        joined = self.create_future()
        thread = threading.Thread(target=self._join_pools, args=(pools, joined))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await joined
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            for pool in pools:
                pool.shutdown(wait=False)
        else:
            thread.join()

    def _pool_for_lookups(self) -> LookupPool:
        self._check_closed()
        self._check_executor_open()
        if self._lookup_pool is None:
            self._lookup_pool = LookupPool(_LOOKUP_THREADS)
        return self._lookup_pool

    def _wrapped(self, job: Future[_T]) -> asyncio.Future[_T]:
        return asyncio.wrap_future(job, loop=self)  # type: ignore[arg-type]

    def _pool_for_default(self) -> ThreadPoolExecutor:
        self._check_executor_open()
        pool = self._default_executor
        if pool is None:
            # asyncio's own prefix: tools and logs tell worker threads by it.
            pool = ThreadPoolExecutor(thread_name_prefix="asyncio")
            self._default_executor = pool
        return pool

    def _check_executor_open(self) -> None:
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")

    def _join_pools(
        self, pools: list[ThreadPoolExecutor | LookupPool], joined: asyncio.Future[None]
    ) -> None:
        """Join the pools (on a thread of its own) and tell the loop, unless it is closed."""
        error: Exception | None = None
        try:
            for pool in pools:
                pool.shutdown(wait=True)
        except Exception as exc:
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop was closed without waiting for us
            self.call_soon_threadsafe(_settle, joined, error)

    def _shut_pools(self) -> None:
        """Let both pools go without waiting (the loop is closing)."""
        self._executor_shutdown_called = True
        if self._default_executor is not None:
            self._default_executor.shutdown(wait=False)
        if self._lookup_pool is not None:
            self._lookup_pool.close()
        self._default_executor = self._lookup_pool = None


def _settle(future: asyncio.Future[Any], error: Exception | None) -> None:
    """Complete `future` unless a timeout or a cancellation has already done so."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
