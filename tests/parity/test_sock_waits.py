"""sock_recv and sock_recv_into on a socket whose last receives all had to wait.

Owns: nobody may take that for a sign that the next one has to as well, as results, errors, order
and whoever looks without waiting would tell.  Thread: the test's own.  Must not: look at the clock.
"""

import asyncio
import errno
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.support.net import run, tcp_pair, turns

OFTEN = 12  # receives in a row that waited

Receive = Callable[[socket.socket], Awaitable[bytes]]


def by_value(loop: asyncio.AbstractEventLoop) -> Receive:
    return lambda sock: loop.sock_recv(sock, 100)


def into_a_buffer(loop: asyncio.AbstractEventLoop) -> Receive:
    async def receive(sock: socket.socket) -> bytes:
        buffer = bytearray(100)
        return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])

    return receive


@pytest.fixture(name="receive", params=[by_value, into_a_buffer])
def every_way(loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest) -> Receive:
    way: Callable[[asyncio.AbstractEventLoop], Receive] = request.param
    return way(loop)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = tcp_pair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def wait_often(
    receive: Receive, ours: socket.socket, theirs: socket.socket, times: int = OFTEN
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


def test_what_is_there_comes_at_once(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs)
            for _ in range(3):
                theirs.sendall(b"there")
                assert await received_at_once(receive, ours, b"there")

    run(loop, main())


def test_calls_do_not_overtake_each_other(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with ours, theirs:
            await wait_often(receive, ours, theirs)
            theirs.sendall(b"first")
            theirs.sendall(b"second")
            assert await asyncio.gather(receive(ours), receive(ours)) == [b"first", b"second"]

    run(loop, main())


def test_what_is_there_is_not_lost_with_a_call_that_is_cancelled(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            for count in range(6):
                await wait_often(receive, ours, theirs)
                theirs.sendall(b"there")
                task = asyncio.ensure_future(receive(ours))
                await turns(count)
                task.cancel()
                await asyncio.wait([task])
                assert b"there" == (await receive(ours) if task.cancelled() else task.result())

    run(loop, main())


def test_whoever_gave_up_finds_what_is_there(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs)
            given_up = asyncio.ensure_future(receive(ours))
            await turns(2)
            given_up.cancel()
            await asyncio.wait([given_up])
            theirs.sendall(b"there")
            async with asyncio.timeout(0):
                assert await receive(ours) == b"there"

    run(loop, main())


def test_ends_and_errors_are_told(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs)
            theirs.sendall(b"last")
            theirs.shutdown(socket.SHUT_WR)
            assert await receive(ours) == b"last"
            for _ in range(OFTEN):
                assert await receive(ours) == b""
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs)
            linger = b"\1\0\0\0\0\0\0\0"
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            theirs.close()
            with pytest.raises(ConnectionResetError):
                await receive(ours)
        async with pair() as (ours, theirs):
            await wait_often(receive, ours, theirs)
            ours.close()
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                await receive(ours)

    run(loop, main())


def test_what_needs_no_data_does_not_wait_for_any(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (ours, theirs):
            await wait_often(by_value(loop), ours, theirs)
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
            await wait_often(by_value(loop), ours, theirs)
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


def test_nothing_is_lost_or_reordered_whatever_the_rhythm(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        dice = random.Random(4)
        async with pair() as (ours, theirs):
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
