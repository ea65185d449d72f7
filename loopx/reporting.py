"""Exceptions that nobody caught: the loop's exception handlers.

A mixin of loopx.Loop. Called on the loop's own thread by handles, transports and servers; must
not raise anything but SystemExit and KeyboardInterrupt.
"""

from __future__ import annotations

import traceback
from asyncio.log import logger
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopx._core import LoopCore
    from loopx.loop import Loop
else:
    LoopCore = object

ExceptionHandler = Callable[["Loop", dict[str, Any]], object]


class ReportingMixin(LoopCore):
    """set_exception_handler and what calls the handler."""

    _exception_handler: ExceptionHandler | None = None

    def get_exception_handler(self) -> ExceptionHandler | None:
        """The handler in use, or None for the default one."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Use `handler(loop, context)` from now on; None for the default one."""
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log a context at level ERROR, with the exception's traceback."""
        message = context.get("message") or "Unhandled exception in event loop"
        exception = context.get("exception")
        handle = self._current_handle
        if "source_traceback" not in context and handle is not None:
            if handle._source_traceback:
                context["handle_traceback"] = handle._source_traceback
        lines = [message]
        for key in sorted(context):
            if key in ("message", "exception"):
                continue
            lines.append(f"{key}: {_describe(key, context[key])}")
        error = (type(exception), exception, exception.__traceback__) if exception else False
        logger.error("\n".join(lines), exc_info=error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Give a context (asyncio's keys) to the handler; nothing it raises gets out.

        Keys: 'message', and optionally 'exception', 'future', 'task', 'handle', 'protocol',
        'transport', 'socket', 'source_traceback', 'asyncgen'.
        """
        if self._exception_handler is None:
            self._call_default_handler(context, "")
            return
        try:
            self._in_the_context_of(context).run(self._exception_handler, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._call_default_handler(
                {
                    "message": "Unhandled error in exception handler",
                    "exception": error,
                    "context": context,
                },
                " while handling an unexpected error in custom exception handler",
            )

    @staticmethod
    def _in_the_context_of(context: dict[str, Any]) -> Any:
        """The context variables of what failed, where asyncio would use them too."""
        for key in ("task", "future", "handle"):
            get_context = getattr(context.get(key), "get_context", None)
            if get_context is not None and context.get(key) is not None:
                found = get_context()
                if hasattr(found, "run"):  # not None, nor a mistake, which is to be reported
                    return found
            elif context.get(key) is not None:
                break
        return _CurrentContext()

    def _call_default_handler(self, context: dict[str, Any], occasion: str) -> None:
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            # A handler overridden in a subclass: all that is left is to say so.
            logger.error("Exception in default exception handler%s", occasion, exc_info=True)


class _CurrentContext:
    """Runs a callable where it is called: contextvars.Context.run without a context."""

    def run(self, callback: Callable[..., object], *args: object) -> object:
        return callback(*args)


def _describe(key: str, value: Any) -> str:
    if key in ("source_traceback", "handle_traceback"):
        title = "Object" if key == "source_traceback" else "Handle"
        frames = "".join(traceback.format_list(value)).rstrip()
        return f"{title} created at (most recent call last):\n{frames}"
    return repr(value)
