"""What sock_recv, sock_recv_into and sock_sendall are given and give: buffers of every kind.

Owns: sizes, kinds of objects, and that what was handed out stays as it was.
Thread: the test's own; both ends are non-blocking sockets of the test.
Must not: leave an operation pending at the end of a test.
"""

import array
import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.net import only_on, run, tcp_pair, turns
from tests.support.payload import pattern

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected non-blocking sockets."""
    ours, theirs = tcp_pair() if request.param == "tcp" else socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("waits", [False, True])
def test_what_was_received_stays_as_it_was(
    loop: asyncio.AbstractEventLoop, pair: Pair, waits: bool
) -> None:
    """Sizes below, about and above half of what was asked for, by calls of several sizes."""
    ours, theirs = pair

    async def main() -> None:
        sizes = [(1, 1), (1, 100), (49, 100), (50, 100), (51, 100), (100, 100), (3000, 65_536)]
        sizes += [(40_000, 65_536), (65_536, 65_536), (5, 65_537), (50_000, 100_000)]
        sizes += [(40_000, 262_144), (200_000, 262_144), (200_000, 262_145)]
        received = []
        for number, (size, asked) in enumerate(2 * sizes):
            data = bytes([number]) * size
            if waits:
                call = asyncio.ensure_future(loop.sock_recv(ours, asked))
                await turns()
                theirs.sendall(data)
            else:
                theirs.sendall(data)
                call = asyncio.ensure_future(loop.sock_recv(ours, asked))
            got = await call
            while len(got) < size:  # in pieces, where the kernel has it so
                got += await loop.sock_recv(ours, asked)
            received.append((data, got, hash(got)))
        for data, got, hashed in received:
            assert got == data and hash(got) == hashed == hash(data)

    run(loop, main())


@pytest.mark.parametrize(
    ("asked", "error"),
    [(-1, ValueError), (2**70, OverflowError), (-(2**70), OverflowError), (1.0, TypeError)],
)
def test_what_cannot_be_asked_for(
    loop: asyncio.AbstractEventLoop, pair: Pair, asked: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(loop, loop.sock_recv(pair[0], asked))


@pytest.mark.parametrize("size_bytes", [1, 1000, 65_536, 65_537, 1 << 20])
def test_buffers_of_every_size(
    loop: asyncio.AbstractEventLoop, pair: Pair, size_bytes: int
) -> None:
    ours, theirs = pair

    async def main() -> None:
        data, buffer, there = pattern(size_bytes), bytearray(size_bytes), 0
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, memoryview(data)))
        while there < size_bytes:
            there += await loop.sock_recv_into(ours, memoryview(buffer)[there:])
        await sending
        assert buffer == data
        del buffer[:]  # nobody holds it

    run(loop, main())


def test_nothing_to_receive_into(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        assert await loop.sock_recv_into(ours, bytearray()) == 0
        theirs.sendall(b"data")
        assert await loop.sock_recv_into(ours, bytearray()) == 0
        assert await loop.sock_recv(ours, 10) == b"data"

    run(loop, main())


@pytest.mark.parametrize(
    "buffer", [b"read-only", "text", None, memoryview(bytearray(8))[::2]], ids=type
)
def test_what_cannot_be_received_into(
    loop: asyncio.AbstractEventLoop, pair: Pair, buffer: Any
) -> None:
    """The socket's own method says so."""
    with pytest.raises((TypeError, BufferError)) as expected:
        pair[0].recv_into(buffer)

    async def main() -> None:
        with pytest.raises(expected.type) as failure:
            await loop.sock_recv_into(pair[0], buffer)
        assert str(failure.value) == str(expected.value)

    run(loop, main())


@pytest.mark.parametrize("data", ["text", None, 7, memoryview(bytes(8))[::2]], ids=type)
def test_what_cannot_be_sent(loop: asyncio.AbstractEventLoop, pair: Pair, data: Any) -> None:
    with pytest.raises((TypeError, BufferError)) as expected:
        pair[0].send(data)

    async def main() -> None:
        with pytest.raises(expected.type) as failure:
            await loop.sock_sendall(pair[0], data)
        assert str(failure.value) == str(expected.value)

    run(loop, main())


@only_on("loopx")
def test_items_of_several_bytes(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    """asyncio takes the bytes sent for items, and waits for ever."""
    ours, theirs = pair

    async def main() -> None:
        words = array.array("I", range(1000))
        await loop.sock_sendall(theirs, words)
        words.append(1)  # BufferError while anybody holds it
        room = array.array("I", bytes(4000))
        there = 0
        while there < 4000:
            there += await loop.sock_recv_into(ours, memoryview(room).cast("B")[there:])
        assert room == words[:1000]

    run(loop, main())


def test_a_socket_that_was_closed(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, _ = pair
    ours.close()

    async def main() -> None:
        for call in (
            loop.sock_recv(ours, 10),
            loop.sock_recv_into(ours, bytearray(10)),
            loop.sock_sendall(ours, b"x"),
        ):
            with pytest.raises(OSError, match="Bad file descriptor"):
                await call

    run(loop, main())
