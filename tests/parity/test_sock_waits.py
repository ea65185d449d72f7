"""sock_recv and sock_recv_into on a socket whose last receives all had to wait.

Owns: such a receive is not tried first, and what may not change by that: results, errors, order,
whoever looks without waiting.  Thread: the test's own.  Must not: look at the clock.
"""

import asyncio
import errno
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.loops import require_loopx
from tests.support.net import only_on, run, tcp_pair, turns

require_loopx()

EXPECTED = 8  # receives in a row that waited
LONG = 60  # more than it takes to try again twice

Receive = Callable[[socket.socket], Awaitable[bytes]]


def by_value(loop: asyncio.AbstractEventLoop) -> Receive:
    return lambda sock: loop.sock_recv(sock, 100)


def into_a_buffer(loop: asyncio.AbstractEventLoop) -> Receive:
    async def receive(sock: socket.socket) -> bytes:
        buffer = bytearray(100)
        return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])

    return receive


every_way = pytest.mark.parametrize("way", [by_value, into_a_buffer])


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def wait_often(
    receive: Receive, ours: socket.socket, theirs: socket.socket, times: int = EXPECTED
) -> None:
    for number in range(times):
        waiting = asyncio.ensure_future(receive(ours))
        await turns(2)
        assert not waiting.done()
        theirs.sendall(b"%d" % number)
        assert await waiting == b"%d" % number


async def received_at_once(receive: Receive, ours: socket.socket, expected: bytes) -> bool:
    """Whether nothing else ran meanwhile."""
    others: list[None] = []
    asyncio.get_running_loop().call_soon(others.append, None)
    assert await receive(ours) == expected
    return not others


@every_way
@only_on("loopx")
def test_is_tried_until_several_had_to_wait(
    loop: asyncio.AbstractEventLoop, way: Callable[[asyncio.AbstractEventLoop], Receive]
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            receive = way(loop)
            await wait_often(receive, ours, theirs, EXPECTED - 1)
            theirs.sendall(b"there")
            assert await received_at_once(receive, ours, b"there")
            await wait_often(receive, ours, theirs)
            theirs.sendall(b"there")
            assert not await received_at_once(receive, ours, b"there")

    run(loop, main())


@every_way
@only_on("loopx")
def test_is_tried_again_soon_where_the_data_is_always_there(
    loop: asyncio.AbstractEventLoop, way: Callable[[asyncio.AbstractEventLoop], Receive]
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            receive = way(loop)
            for _ in range(3):
                await wait_often(receive, ours, theirs, LONG)
                tried = []
                for _ in range(LONG):
                    theirs.sendall(b"there")
                    tried.append(await received_at_once(receive, ours, b"there"))
                first = tried.index(True)
                assert first <= 16
                assert all(tried[first:])

    run(loop, main())


@every_way
def test_whoever_gave_up_finds_what_is_there(
    loop: asyncio.AbstractEventLoop, way: Callable[[asyncio.AbstractEventLoop], Receive]
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            receive = way(loop)
            await wait_often(receive, ours, theirs, 12)
            given_up = asyncio.ensure_future(receive(ours))
            await turns(2)
            given_up.cancel()
            await asyncio.wait([given_up])
            theirs.sendall(b"there")
            async with asyncio.timeout(0):
                assert await receive(ours) == b"there"

    run(loop, main())


@every_way
def test_ends_and_errors_are_told(
    loop: asyncio.AbstractEventLoop, way: Callable[[asyncio.AbstractEventLoop], Receive]
) -> None:
    async def main() -> None:
        receive = way(loop)
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs, 12)
            theirs.sendall(b"last")
            theirs.shutdown(socket.SHUT_WR)
            assert await receive(ours) == b"last"
            for _ in range(LONG):
                assert await receive(ours) == b""
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs, 12)
            linger = b"\1\0\0\0\0\0\0\0"
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            theirs.close()
            with pytest.raises(ConnectionResetError):
                await receive(ours)
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs, 12)
            ours.close()
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                await receive(ours)

    run(loop, main())


def test_what_needs_no_data_does_not_wait_for_any(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            await wait_often(by_value(loop), ours, theirs, 12)
            assert await loop.sock_recv_into(ours, bytearray()) == 0
            assert await received_at_once(lambda sock: loop.sock_recv(sock, 0), ours, b"")
            with pytest.raises(TypeError):
                await loop.sock_recv_into(ours, b"read-only")
            with pytest.raises(ValueError, match="negative buffersize"):
                await loop.sock_recv(ours, -1)

    run(loop, main())


def test_another_socket_with_the_same_number(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            number = ours.fileno()
            await wait_often(by_value(loop), ours, theirs, 12)
            ours.close()
            new, peer = socket.socketpair()
            if peer.fileno() == number:
                new, peer = peer, new
            if new.fileno() != number:
                os.dup2(new.fileno(), number)
                new.close()
                new = socket.socket(fileno=number)
            new.setblocking(False)
            with new, peer:
                peer.sendall(b"for the new one")
                assert await loop.sock_recv(new, 100) == b"for the new one"

    run(loop, main())


@every_way
def test_nothing_is_lost_or_reordered_whatever_the_rhythm(
    loop: asyncio.AbstractEventLoop, way: Callable[[asyncio.AbstractEventLoop], Receive]
) -> None:
    async def main() -> None:
        dice = random.Random(4)
        async with pair() as (ours, theirs):
            receive = way(loop)
            sent = bytearray()
            got = bytearray()
            for _ in range(2_000):
                waiting = None
                if dice.random() < 0.9:
                    waiting = asyncio.ensure_future(receive(ours))
                    await turns(dice.randrange(3))
                data = dice.randbytes(dice.randrange(1, 200))
                theirs.sendall(data)
                sent += data
                got += await (waiting if waiting is not None else receive(ours))
                if got == sent and dice.random() < 0.1:
                    hasty = asyncio.ensure_future(receive(ours))
                    await turns(dice.randrange(3))
                    hasty.cancel()
                    await asyncio.wait([hasty])
                    assert hasty.cancelled()
            theirs.shutdown(socket.SHUT_WR)
            while data := await receive(ours):
                got += data
            assert got == sent

    run(loop, main())
