"""What reaches asyncio.StreamReader, where loopx feeds it without asyncio's own Python code.

Owns: readers and protocols that are not, or no longer, as asyncio made them; failures of feeding.
Thread: the test's own.
Must not: test reading as such (test_streams_reader.py).
"""

import asyncio
import socket
from typing import Any

import pytest

from tests.support.net import capture_errors, run, turns

Loop = asyncio.AbstractEventLoop


class CountingReader(asyncio.StreamReader):
    fed = 0

    def feed_data(self, data: bytes) -> None:
        self.fed += 1
        super().feed_data(data)


class CountingProtocol(asyncio.StreamReaderProtocol):
    received = 0

    def data_received(self, data: bytes) -> None:
        self.received += 1
        super().data_received(data)


async def opened(
    loop: Loop,
    reader_class: type[asyncio.StreamReader] = asyncio.StreamReader,
    protocol_class: type[asyncio.StreamReaderProtocol] = asyncio.StreamReaderProtocol,
) -> tuple[Any, Any, Any, socket.socket]:
    """A reader, its protocol and transport, and the peer's socket."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader = reader_class(limit=1000, loop=loop)
    protocol = protocol_class(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    return reader, protocol, transport, theirs


async def closed(transport: Any, theirs: socket.socket) -> None:
    transport.abort()
    theirs.close()
    await turns()


def test_classes_derived_from_asyncios(loop: Loop) -> None:
    async def main() -> None:
        reader, protocol, transport, theirs = await opened(loop, CountingReader, CountingProtocol)
        theirs.send(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert (reader.fed, protocol.received) == (1, 1)
        await closed(transport, theirs)
        reader, protocol, transport, theirs = await opened(loop, CountingReader)
        theirs.send(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert reader.fed == 1
        await closed(transport, theirs)

    run(loop, main())


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (asyncio.StreamReaderProtocol, "data_received"),
        (asyncio.StreamReader, "feed_data"),
        (asyncio.StreamReader, "_wakeup_waiter"),
    ],
)
def test_a_method_that_somebody_wrapped(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    """As instruments do: the wrapper is called."""
    calls = []
    original = getattr(owner, name)

    def wrapper(self: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return original(self, *arguments)

    async def main() -> None:
        monkeypatch.setattr(owner, name, wrapper)
        reader, _protocol, transport, theirs = await opened(loop)
        theirs.send(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert calls
        await closed(transport, theirs)

    run(loop, main())


def test_the_reader_pauses_its_transport_at_twice_its_limit(loop: Loop) -> None:
    async def main() -> None:
        reader, _protocol, transport, theirs = await opened(loop)
        theirs.send(bytes(2000))
        await turns()
        assert transport.is_reading()
        theirs.send(b"x")
        await turns()
        assert not transport.is_reading()
        theirs.send(b"y")
        assert await reader.readexactly(1001) == bytes(1001)
        assert transport.is_reading()
        assert await reader.readexactly(1001) == bytes(999) + b"xy"
        await closed(transport, theirs)

    run(loop, main())


def test_a_read_that_was_cancelled(loop: Loop) -> None:
    async def main() -> None:
        reader, _protocol, transport, theirs = await opened(loop)
        waiting = asyncio.ensure_future(reader.read(5))
        await turns()
        waiting.cancel()
        theirs.send(b"hello")              # comes in, at times, before the task has ended
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert await reader.readexactly(5) == b"hello"
        await closed(transport, theirs)

    run(loop, main())


def test_a_reader_that_nobody_holds(loop: Loop) -> None:
    """What comes in for it goes nowhere."""

    async def main() -> None:
        _reader, protocol, transport, theirs = await opened(loop)
        protocol._stream_reader_wr = lambda: None
        theirs.send(b"hello")
        await turns()
        assert transport.is_reading()
        await closed(transport, theirs)

    run(loop, main())


@pytest.mark.parametrize("obstacle", ["end", "export"])
def test_data_that_the_reader_refuses(loop: Loop, obstacle: str) -> None:
    """After its end, or while its buffer is exported: the connection is closed and says why."""

    async def main() -> None:
        errors = capture_errors(loop)
        reader, _protocol, transport, theirs = await opened(loop)
        if obstacle == "end":
            reader.feed_eof()
        else:
            view = memoryview(reader._buffer)
        theirs.send(b"hello")
        await turns(20)
        assert transport.is_closing()
        (error,) = errors
        assert error["message"] == "Fatal error: protocol.data_received() call failed."
        expected = AssertionError if obstacle == "end" else BufferError
        assert type(error["exception"]) is expected
        if obstacle == "export":
            view.release()
        assert isinstance(reader.exception(), expected)
        await closed(transport, theirs)
        errors.clear()

    run(loop, main())
