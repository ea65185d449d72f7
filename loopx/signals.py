"""Unix signals: handlers that run in the loop, and waits that a signal ends.

Owns the process's wake-up descriptor (signal.set_wakeup_fd) while a loop of ours holds it, and
what was there before. CPython's C handler writes a signal's number to it at once, whatever Python
is doing; the loop reads the number on whichever thread it runs. Only the main thread may set the
descriptor or a signal's disposition (CPython's rule); the tables below are written there, but for
a loop that is closed on another thread, which can only mark what it leaves behind.
Must not close a descriptor that may still be set: its number would be written to all the same.
"""

from __future__ import annotations

import contextvars
import errno
import logging
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from loopx.executor import refuse_coroutine
from loopx.ring.limits import explain

if TYPE_CHECKING:
    from loopx._core import LoopCore
else:
    LoopCore = object

logger = logging.getLogger("asyncio")

# The wake-up descriptors of open loops.
_open_fds: set[int] = set()
# Which loop has the handler for a signal: the one that was the last to add it.
_handling: dict[int, weakref.ref[SignalsMixin]] = {}
# The descriptor that was set before any of ours: another library's, or -1.
_foreign_fd = -1
# Left by loops that were closed on another thread than the main one.
_stale_fds: list[int] = []
_stale_signals: set[int] = set()


def _on_signal(signum: int, frame: FrameType | None) -> None:
    """What is installed for a handled signal: the C handler's write does the work.

    Only when the loop was closed where dispositions cannot be restored is that made up for here.
    """
    if signum in _stale_signals:
        _stale_signals.discard(signum)
        signal.signal(signum, _default_disposition(signum))
        signal.raise_signal(signum)


def _default_disposition(signum: int) -> Any:
    return signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _set_disposition(sig: int, disposition: Any) -> None:
    try:
        signal.signal(sig, disposition)
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise RuntimeError(f"sig {sig} cannot be caught") from exc
        raise


def _on_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _let_handlers_run() -> None:
    """Entering a Python function runs the Python handlers of signals that came before."""


def _set_wakeup_fd(fd: int) -> int:
    """signal.set_wakeup_fd, noting another library's descriptor and closing stale ones."""
    global _foreign_fd
    previous = signal.set_wakeup_fd(fd)
    if previous not in _open_fds and previous not in _stale_fds:
        _foreign_fd = previous
    while _stale_fds:
        os.close(_stale_fds.pop())
    return previous


def _after_fork_in_child() -> None:
    """A signal that the child gets must not be told to the parent's loop."""
    if _open_fds or _stale_fds:
        with suppress(ValueError):  # a subinterpreter has no wake-up descriptor
            previous = signal.set_wakeup_fd(-1)
            if previous not in _open_fds and previous not in _stale_fds:
                signal.set_wakeup_fd(previous)


os.register_at_fork(after_in_child=_after_fork_in_child)


class SignalsMixin(LoopCore):
    """Signal handlers of a loop. State: the handlers, and the loop's own wake-up descriptor.

    The descriptor is a duplicate of the self-pipe's writing end, so that it stays ours until the
    main thread has unset it. It is made by the first handler or the first wait on the main
    thread, and set while the loop runs there or has handlers.
    """

    _signal_handlers: dict[int, tuple[Callable[..., object], Any, contextvars.Context]] = {}
    _wakeup_fd: int = -1
    _ends_waits: bool = False  # set for the run that is going on

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` in the loop whenever the process gets signal `sig`.

        It replaces an earlier handler for `sig`, and goes on working when the loop is later run
        by another thread. Raises TypeError for a coroutine function or a `sig` that is no int,
        ValueError for a number that is no signal, RuntimeError for one that cannot be caught
        (SIGKILL, SIGSTOP), and off the main thread (signal(7), Python's `signal`).
        """
        refuse_coroutine(callback, "add_signal_handler")
        _check_signal(sig)
        self._check_closed()
        if not _on_main_thread():
            raise RuntimeError("set_wakeup_fd only works in main thread of the main interpreter")
        try:
            self._hold_wakeup_fd()
        except (ValueError, OSError) as exc:
            raise RuntimeError(str(exc)) from exc
        try:
            _set_disposition(sig, _on_signal)
            signal.siginterrupt(sig, False)  # system calls of the whole program go on
        except BaseException:
            self._release_wakeup_fd()
            raise
        if not self._signal_handlers:
            self._signal_handlers = {}  # not the class's
        self._signal_handlers[sig] = (callback, args, contextvars.copy_context())
        _handling[sig] = weakref.ref(self)
        _stale_signals.discard(sig)

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo `add_signal_handler`; False when there was no handler for `sig`.

        Raises what `add_signal_handler` raises for a bad `sig`, ValueError off the main thread.
        """
        _check_signal(sig)
        if sig not in self._signal_handlers:
            return False
        if self._has_signal(sig):
            _set_disposition(sig, _default_disposition(sig))
            _handling.pop(sig, None)
        del self._signal_handlers[sig]
        self._release_wakeup_fd()
        return True

    # What the core calls.

    def _on_signal_bytes(self, data: bytes) -> None:
        """Signals came (their numbers): schedule their handlers."""
        for signum in data:
            if signum and not self._schedule_handler(signum):
                self._pass_on(signum)

    def _wakeup_begin(self) -> None:
        """Before the first wait of a run: from here on a signal ends a wait.

        Without it a Ctrl-C that arrives between the last look at signals and the system call
        would go unnoticed until something else ends the wait.
        """
        if not _on_main_thread():
            return  # signals are the main thread's business; handlers have set theirs already
        self._ends_waits = True  # first: a Ctrl-C may come out of any line here
        try:
            self._hold_wakeup_fd()
        except ValueError:  # a subinterpreter: signals do not reach it
            self._ends_waits = False
            return
        _let_handlers_run()  # for a signal that came before the descriptor was set

    def _wakeup_end(self) -> None:
        """After the run."""
        if self._ends_waits:
            self._ends_waits = False
            self._release_wakeup_fd()

    # Inside.

    def _has_signal(self, sig: int) -> bool:
        """Whether this loop, not one that added a handler later, gets the signal."""
        owner = _handling.get(sig)
        return owner is not None and owner() is self

    def _schedule_handler(self, signum: int) -> bool:
        handler = self._signal_handlers.get(signum)
        if handler is None:
            return False
        callback, args, context = handler
        self.call_soon(callback, *args, context=context)
        return True

    def _pass_on(self, signum: int) -> None:
        """Tell the loop, or the library, that would have heard of it if ours were not set."""
        owner = _handling.get(signum)
        loop = owner() if owner is not None else None
        if loop is not None and loop is not self:
            with suppress(RuntimeError):  # closed meanwhile
                loop.call_soon_threadsafe(loop._schedule_handler, signum)
        elif loop is None and _foreign_fd >= 0:
            with suppress(OSError):
                os.write(_foreign_fd, bytes([signum]))

    def _hold_wakeup_fd(self) -> None:
        if self._wakeup_fd < 0:
            try:
                fd = os.dup(self._signal_wakeup_fd())
            except OSError as exc:  # no descriptor left; the ring's would be next
                raise explain(exc.errno or errno.EMFILE) from exc
            _open_fds.add(fd)
            self._wakeup_fd = fd
        _set_wakeup_fd(self._wakeup_fd)

    def _release_wakeup_fd(self) -> None:
        """Unset our descriptor when nothing needs it any more (main thread)."""
        if self._signal_handlers or self._ends_waits or self._wakeup_fd < 0:
            return
        successor = _foreign_fd
        for owner in _handling.values():
            loop = owner()
            if loop is not None and loop is not self and loop._wakeup_fd >= 0:
                successor = loop._wakeup_fd
        current = signal.set_wakeup_fd(successor)
        if current != self._wakeup_fd:
            signal.set_wakeup_fd(current)  # somebody has set another one since; it stays

    def _drop_signals(self) -> None:
        """The loop is closing: no signal may be told to it any more."""
        fd = self._wakeup_fd
        if sys.is_finalizing():
            if self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, "
                    "skipping signal handlers removal",
                    ResourceWarning,
                    source=self,
                )
            return
        if _on_main_thread():
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
            self._release_wakeup_fd()
        elif self._signal_handlers:
            for sig in self._signal_handlers:
                if self._has_signal(sig):
                    _stale_signals.add(sig)
                    del _handling[sig]
            self._signal_handlers.clear()
            # The number may still be set, so it must stay open, and nobody reads the pipe any more.
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), fd, inheritable=False)
            _stale_fds.append(fd)
            _open_fds.discard(fd)
            fd = -1
        self._wakeup_fd = -1
        if fd >= 0:
            _open_fds.discard(fd)
            os.close(fd)
