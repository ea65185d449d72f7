"""Pipes: `connect_read_pipe` and `connect_write_pipe`.

Owns nothing: the file object is the caller's until a transport has taken it over, which closes it
in the end. Called on the loop's own thread only. Must not touch the descriptor itself; what a pipe
can be, and that it becomes non-blocking, is the transport's affair (transports/pipes.pxi).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from loopx._core import LoopCore, ReadPipeTransport, WritePipeTransport
else:
    LoopCore = object

_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class PipesMixin(LoopCore):
    """The two ends of a pipe as transports. No state of its own."""

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _P], pipe: Any
    ) -> tuple[ReadPipeTransport, _P]:
        """Read from `pipe`, a file object of a pipe, FIFO, socket, terminal or other device.

        It becomes non-blocking (as does whatever shares its open file description, pipe(7)) and
        the transport's, which closes it. Raises ValueError for a regular file, RuntimeError when
        the loop is closed; the file stays the caller's then.
        """
        self._check_closed()
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_read_pipe_transport(pipe, protocol, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _P], pipe: Any
    ) -> tuple[WritePipeTransport, _P]:
        """Write to `pipe`. As connect_read_pipe.

        connection_lost() is called when nobody reads the pipe any more: with BrokenPipeError if
        something was unsent. Of a device only a write can tell.
        """
        self._check_closed()
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_write_pipe_transport(pipe, protocol, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol
