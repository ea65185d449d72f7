"""`Loop`: the native core and the Python modules put together.

Owns nothing itself. The mixins come before LoopCore because some of them override its hooks
(`_on_close`, `_on_signal_bytes`, `_wakeup_begin`, `_wakeup_end`).
Only the thread that runs a loop may use it, but for `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
from typing import Self

from loopx._core import LoopCore
from loopx.connect import ConnectMixin
from loopx.datagrams import DatagramsMixin
from loopx.dns import DNSMixin
from loopx.executor import ExecutorMixin
from loopx.pipes import PipesMixin
from loopx.process import ProcessMixin
from loopx.reporting import ReportingMixin
from loopx.running import RunningMixin
from loopx.sendfile import SendfileMixin
from loopx.server import ServerMixin
from loopx.signals import SignalsMixin
from loopx.sockets import SocketsMixin
from loopx.tls import TLSMixin


def _state_of(*mixins: type) -> dict[str, object]:
    """Return what the mixins keep of a loop, and what each begins with: they annotate it."""
    return {
        name: vars(mixin)[name]
        for mixin in mixins
        for name in mixin.__annotations__
        if name in vars(mixin)
    }


_STATE = _state_of(
    RunningMixin, ReportingMixin, ServerMixin, ExecutorMixin, ProcessMixin, SignalsMixin
)


class Loop(  # type: ignore[misc]  # typeshed's overloads are narrower than what asyncio takes
    RunningMixin,
    ReportingMixin,
    ConnectMixin,
    DatagramsMixin,
    ServerMixin,
    SendfileMixin,
    TLSMixin,
    SocketsMixin,
    PipesMixin,
    DNSMixin,
    ExecutorMixin,
    ProcessMixin,
    SignalsMixin,
    LoopCore,
    asyncio.AbstractEventLoop,
):
    """An asyncio event loop whose I/O is io_uring completions.

    It takes the place of `asyncio.SelectorEventLoop`. Making one raises EngineUnavailable, which
    names cause and remedy, where io_uring cannot be had.
    """

    # So that a loop has no dictionary before a program sets an attribute of its own: from Python
    # 3.13 on, whoever calls a method would look through it first.
    __slots__ = tuple(_STATE)

    def __new__(cls, *_args: object, **_options: object) -> Self:
        loop = super().__new__(cls)
        for begin_with, value in _BEGINNING:
            begin_with(loop, value)
        return loop

    def _on_close(self) -> None:
        """Let go of what the Python modules own; called once, before the ring is torn down."""
        try:  # each of them, whatever another raises (an ExitStack takes 3 us for it)
            self._close_servers()
        finally:
            try:
                self._leave_processes()
            finally:
                try:
                    self._drop_signals()
                finally:
                    self._shut_pools()


# How each slot is filled: half of what object.__setattr__ takes.
_BEGINNING = [(vars(Loop)[name].__set__, value) for name, value in _STATE.items()]


def new_event_loop() -> Loop:
    """Make a loop: for asyncio.Runner(loop_factory=...), uvicorn's --loop and the like."""
    return Loop()
