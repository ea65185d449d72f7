"""Running, stopping and finishing a loop: what surrounds the native turns.

A mixin of loopx.Loop; needs LoopCore's `_run`, `stop` and `call_soon`. Everything here runs on the
loop's own thread. Nothing here runs per callback.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
import weakref
from asyncio import events
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from loopx._core import LoopCore
else:
    LoopCore = object

T = TypeVar("T")


class RunningMixin(LoopCore):
    """run_forever, run_until_complete, close, and the life of asynchronous generators."""

    _asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] | None = None
    _asyncgens_shutdown: bool = False
    _debug_origin_depth: int | None = None

    def run_forever(self) -> None:
        """Run until stop() is called.

        RuntimeError when this loop is closed or runs already, or when this thread runs another.
        """
        self._check_closed()
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        # Looked up each time, as asyncio does: programs replace these two.
        if events._get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")
        hooks = sys.get_asyncgen_hooks()
        self._track_coroutine_origins(self.get_debug())
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter, finalizer=self._asyncgen_finalizer
        )
        events._set_running_loop(self)  # type: ignore[arg-type]
        try:
            self._run()
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
            self._track_coroutine_origins(False)

    def run_until_complete(self, future: Awaitable[T] | Generator[Any, None, T]) -> T:
        """Run until a future, or a coroutine as a task, is done; return its result.

        RuntimeError when the loop is stopped before that.
        """
        self._check_closed()
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        is_new = not asyncio.isfuture(future)
        task: asyncio.Future[T]
        task = asyncio.ensure_future(future, loop=self)  # type: ignore[call-overload]
        if is_new:
            # What goes wrong is told by this call; no need to log it as well.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.add_done_callback(_stop_when_done)
        try:
            self.run_forever()
        except BaseException:
            if is_new and task.done() and not task.cancelled():
                task.exception()  # retrieved: this call's own exception says more
            raise
        finally:
            task.remove_done_callback(_stop_when_done)
        if not task.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return task.result()

    def set_debug(self, enabled: bool) -> None:
        """Turn debug mode on or off: slow callbacks, wrong threads, origins of coroutines."""
        super().set_debug(enabled)
        if self.is_running():
            self.call_soon_threadsafe(self._track_coroutine_origins, enabled)

    def _track_coroutine_origins(self, enabled: bool) -> None:
        if enabled == (self._debug_origin_depth is not None):
            return
        if enabled:
            self._debug_origin_depth = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(_ORIGIN_DEPTH)
        else:
            assert self._debug_origin_depth is not None
            sys.set_coroutine_origin_tracking_depth(self._debug_origin_depth)
            self._debug_origin_depth = None

    # Asynchronous generators -------------------------------------------------------------

    def _asyncgen_firstiter(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_shutdown:
            warnings.warn(
                f"asynchronous generator {generator!r} was scheduled after "
                "loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
            )
        if self._asyncgens is None:
            self._asyncgens = weakref.WeakSet()
        self._asyncgens.add(generator)

    def _asyncgen_finalizer(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens is not None:
            self._asyncgens.discard(generator)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that was started and not finished."""
        self._asyncgens_shutdown = True
        if not self._asyncgens:
            return
        generators = list(self._asyncgens)
        self._asyncgens.clear()
        results = await asyncio.gather(
            *[generator.aclose() for generator in generators], return_exceptions=True
        )
        for result, generator in zip(results, generators, strict=True):
            if isinstance(result, Exception):
                self.call_exception_handler(
                    {
                        "message": "an error occurred during closing of asynchronous "
                        f"generator {generator!r}",
                        "exception": result,
                        "asyncgen": generator,
                    }
                )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    def __del__(self) -> None:
        if not self.is_closed() and not self.forked:
            warnings.warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
            if not self.is_running():
                self.close()


_ORIGIN_DEPTH = 10  # frames, as asyncio.constants.DEBUG_STACK_DEPTH


def _stop_when_done(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and isinstance(
        future.exception(), (SystemExit, KeyboardInterrupt)
    ):
        # It passes through run_forever by itself; stopping would end a later run.
        return
    future.get_loop().stop()
