"""Protocols that write down what they are told, for tests that look at it afterwards.

Owns: the recording protocols on data_received and on get_buffer, an echo, and their registry.
Thread: the loop's own, like every protocol.
Must not: act on their transport beyond what their docstrings say.
"""

import asyncio
from typing import Any


class RecordingProtocol(asyncio.BaseProtocol):
    """Writes down every call, and offers futures for those that tests wait for.

    `calls` holds the names of the callbacks in order; runs of the data callbacks are written
    once. `lost` is resolved with connection_lost's argument.
    """

    keep_open: bool | None = None

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.calls: list[str] = []
        self.buffer = bytearray()
        self.received_bytes = 0
        self.transport: Any = None
        self.made: asyncio.Future[Any] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.paused = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self._arrived = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = transport
        if not self.made.done():
            self.made.set_result(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.lost.set_result(exc)
        self._arrived.set()

    def eof_received(self) -> bool | None:
        self.calls.append("eof_received")
        if not self.ended.done():
            self.ended.set_result(None)
        self._arrived.set()
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")
        self.writable.clear()
        self.paused.set()

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        self.paused.clear()
        self.writable.set()

    def note_data(self, name: str, data: bytes | memoryview) -> None:
        """Called by the subclasses for each piece of data, in order."""
        if not self.calls or self.calls[-1] != name:
            self.calls.append(name)
        self.buffer += data
        self.received_bytes += len(data)
        self._arrived.set()

    async def read(self, size_bytes: int) -> bytes:
        """Take exactly `size_bytes` from what has arrived; waits for it; EOFError at the end."""
        while len(self.buffer) < size_bytes:
            if self.ended.done() or self.lost.done():
                raise EOFError(f"{len(self.buffer)} of {size_bytes} bytes")
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(memoryview(self.buffer)[:size_bytes])
        del self.buffer[:size_bytes]
        return data

    async def received(self, total_bytes: int) -> None:
        """Wait until `total_bytes` have arrived since the connection was made."""
        while self.received_bytes < total_bytes:
            self._arrived.clear()
            await self._arrived.wait()


class Recorder(RecordingProtocol, asyncio.Protocol):
    """The recording protocol on data_received."""

    def data_received(self, data: bytes) -> None:
        self.note_data("data_received", data)


class HalfOpenRecorder(Recorder):
    """Keeps its side open when the peer has finished sending."""

    keep_open = True


class BufferedRecorder(RecordingProtocol, asyncio.BufferedProtocol):
    """The recording protocol on get_buffer and buffer_updated."""

    space_bytes = 16 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.space = bytearray(self.space_bytes)

    def get_buffer(self, sizehint: int) -> bytearray | memoryview:
        # A view: asyncio.sslproto slices what it gets, and a slice of a bytearray is a copy.
        return memoryview(self.space)

    def buffer_updated(self, nbytes: int) -> None:
        self.note_data("buffer_updated", memoryview(self.space)[:nbytes])


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Registry:
    """Makes server protocols and keeps them, in order of connection."""

    def __init__(self) -> None:
        self.protocols: list[Echo] = []

    def __call__(self) -> Echo:
        self.protocols.append(Echo())
        return self.protocols[-1]
