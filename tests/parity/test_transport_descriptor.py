"""A descriptor closed behind the loop's back, and one whose number is used again.

Owns: os.close on what a transport, a server or an operation is using.
Thread: the test's own.
Must not: open anything while a dead number is still known to the loop, except to show that the
new owner of the number is left in peace (loopx alone: asyncio makes no such promise).
"""

import asyncio
import contextlib
import os
import socket

import pytest

from tests.support.net import (
    TIMEOUT_S,
    capture_errors,
    dial,
    echo_once,
    only_on,
    run,
    serving,
    tcp_pair,
    turns,
    with_peer,
)
from tests.support.recorders import Echo, Recorder


async def check_loop_works() -> None:
    """A server and a client on the loop, from beginning to end.

    Also called first: what a loop opens for itself when it first waits must not get the number
    that the test sets free.
    """
    async with serving(Echo) as served:
        client = await dial(served.address)
        await echo_once(client)
        client.transport.close()
        assert await client.lost is None


def number_of(transport: asyncio.BaseTransport) -> int:
    """The number of the transport's descriptor."""
    number: int = transport.get_extra_info("socket").fileno()
    return number


@only_on("loopx")
@pytest.mark.parametrize("ending", ["close", "abort"])
def test_closing_a_transport_without_descriptor(
    loop: asyncio.AbstractEventLoop, ending: str
) -> None:
    """asyncio trips over closing the socket, and leaves its transport half closed."""

    async def main() -> None:
        await check_loop_works()
        capture_errors(loop)
        async with with_peer(Recorder) as (protocol, peer):
            os.close(number_of(protocol.transport))
            getattr(protocol.transport, ending)()
            error = await protocol.lost
            assert error is None or isinstance(error, OSError)
            assert protocol.calls.count("connection_lost") == 1
            await turns()
            peer.close()
        await check_loop_works()

    run(loop, main())


@only_on("loopx")
def test_writing_without_descriptor(loop: asyncio.AbstractEventLoop) -> None:
    """As above: connection_lost with the error, once, and nothing left behind."""

    async def main() -> None:
        await check_loop_works()
        capture_errors(loop)
        async with with_peer(Recorder) as (protocol, peer):
            os.close(number_of(protocol.transport))
            protocol.transport.write(b"into the void")
            assert isinstance(await protocol.lost, OSError)
            assert protocol.calls.count("connection_lost") == 1
            await turns()
            peer.close()
        await check_loop_works()

    run(loop, main())


def test_a_listening_socket_closed_by_somebody(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        await check_loop_works()
        capture_errors(loop)
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        os.close(server.sockets[0].fileno())
        await turns()
        with contextlib.suppress(OSError):  # asyncio lets the error of the closing through
            server.close()
        await turns()
        await check_loop_works()

    run(loop, main())


def test_a_socket_closed_while_receiving(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        await check_loop_works()
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with theirs:
            task = asyncio.ensure_future(loop.sock_recv(ours, 100))
            await turns()
            ours.close()
            await turns()
            task.cancel()
            with pytest.raises((asyncio.CancelledError, OSError)):
                await task
            await turns()
            theirs.settimeout(10)
            assert await asyncio.to_thread(theirs.recv, 10) == b""
        await check_loop_works()

    run(loop, main())


@only_on("loopx")
def test_a_number_used_again_while_the_old_operation_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The new socket's data goes to the new socket's operation; asyncio confuses the two."""

    async def main() -> None:
        await check_loop_works()
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        old = asyncio.ensure_future(loop.sock_recv(ours, 100))
        await turns()
        number = ours.fileno()
        ours.close()
        fresh, right = socket.socketpair()
        if right.fileno() == number:
            fresh, right = right, fresh
        elif fresh.fileno() != number:
            os.dup2(fresh.fileno(), number)
            fresh.close()
            fresh = socket.socket(fileno=number)
        fresh.setblocking(False)
        with theirs, right, fresh:
            for text in (b"one", b"two"):
                task = asyncio.ensure_future(loop.sock_recv(fresh, 100))
                await turns()
                right.sendall(text)
                assert await task == text
            old.cancel()
            await asyncio.wait([old])

    run(loop, main())


@only_on("loopx")
def test_a_number_used_again_after_a_transport(loop: asyncio.AbstractEventLoop) -> None:
    """What is left of the old transport touches neither reads nor writes of the new owner."""

    async def main() -> None:
        for _ in range(50):
            async with with_peer(Recorder) as (protocol, peer):
                protocol.transport.write(b"x" * 100_000)
                protocol.transport.abort()
                await protocol.lost
                peer.close()
            left, right = socket.socketpair()
            left.setblocking(False)
            with left, right:
                task = asyncio.ensure_future(loop.sock_recv(left, 100))
                right.sendall(b"fresh")
                assert await task == b"fresh"
                left.sendall(b"out")
                assert right.recv(100) == b"out"

    run(loop, main())


def exchanged(old: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Close `old`, and give its number to one end of a new pair; the other end is second."""
    number = old.fileno()
    old.close()
    fresh, other = socket.socketpair()
    if other.fileno() == number:
        fresh, other = other, fresh
    assert fresh.fileno() == number
    other.settimeout(TIMEOUT_S)
    return fresh, other


@only_on("loopx")
@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("rests", [False, True])
def test_a_transport_whose_socket_was_closed_receives_no_longer(
    loop: asyncio.AbstractEventLoop, bulk: bool, rests: bool
) -> None:
    """The number is another socket's by then, whose data is not the transport's.

    asyncio's transport is told nothing when epoll forgets a descriptor.
    """
    ours, theirs = tcp_pair()
    ours.setblocking(False)

    async def start() -> Recorder:
        await check_loop_works()
        protocol = (await loop.create_connection(Recorder, sock=ours))[1]
        if bulk:
            theirs.settimeout(TIMEOUT_S)
            for _ in range(5):
                await asyncio.to_thread(theirs.sendall, bytes(200_000))
            await protocol.received(1_000_000)
            await turns()
        return protocol

    async def follow(protocol: Recorder) -> None:
        with contextlib.suppress(ConnectionError):
            theirs.sendall(b"old")
            if not (bulk or rests):
                protocol.transport.write(b"x")
        assert isinstance(await protocol.lost, OSError)
        assert bytes(protocol.buffer[1_000_000 if bulk else 0 :]) in (b"", b"old")

    async def main() -> None:
        protocol = await start()
        fresh, other = exchanged(ours)
        with fresh, other:
            other.sendall(b"not the transport's")
            await follow(protocol)
            assert fresh.recv(100) == b"not the transport's"

    def with_a_rest() -> None:
        protocol = loop.run_until_complete(start())
        fresh, other = exchanged(ours)
        with fresh, other:
            other.sendall(b"not the transport's")
            loop.run_until_complete(follow(protocol))
            assert fresh.recv(100) == b"not the transport's"

    with theirs:
        with_a_rest() if rests else run(loop, main())


class ExchangesItsSocket(asyncio.BufferedProtocol):
    """Closes the socket that its transport was given when asked for a buffer, once in bulk."""

    def __init__(self, ours: socket.socket) -> None:
        self.ours = ours
        self.buffer = bytearray(300_000)
        self.received = 0
        self.others: tuple[socket.socket, socket.socket] | None = None
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        if self.received > 1_000_000 and sizehint == -1 and self.others is None:
            self.others = exchanged(self.ours)
            self.others[1].sendall(b"not the transport's")
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_a_protocol_that_exchanges_the_socket_while_it_is_asked_for_a_buffer(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A transport calls get_buffer() and then receives: from a socket that is its own, still."""
    ours, theirs = tcp_pair()
    ours.setblocking(False)

    async def main() -> None:
        await check_loop_works()
        protocol = ExchangesItsSocket(ours)
        await loop.create_connection(lambda: protocol, sock=ours)
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                await asyncio.to_thread(theirs.sendall, bytes(200_000))
        assert isinstance(await protocol.lost, OSError)
        assert protocol.others is not None
        fresh, other = protocol.others
        with fresh, other:
            assert fresh.recv(100) == b"not the transport's"

    with theirs:
        run(loop, main())


def test_the_end_of_file_is_not_written_to_another(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = tcp_pair()
    ours.setblocking(False)

    async def main() -> None:
        await check_loop_works()
        protocol = (await loop.create_connection(Recorder, sock=ours))[1]
        fresh, other = exchanged(ours)
        with fresh, other:
            with pytest.raises(OSError, match="Bad file descriptor"):
                protocol.transport.write_eof()
            fresh.sendall(b"still open")
            assert other.recv(100) == b"still open"
            protocol.transport.abort()
            await protocol.lost

    with theirs:
        run(loop, main())


@only_on("loopx")
def test_a_closed_listening_socket_accepts_for_nobody_else(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Not to mention that the other may be blocking. asyncio raises from run_forever()."""
    contexts = capture_errors(loop)
    old = socket.create_server(("127.0.0.1", 0))
    address = old.getsockname()

    async def start() -> asyncio.Server:
        await check_loop_works()
        return await loop.create_server(Recorder, sock=old)

    async def follow() -> None:
        while not contexts:
            await asyncio.sleep(0)

    server = loop.run_until_complete(start())
    number = old.fileno()
    old.close()
    with socket.create_server(("127.0.0.1", 0)) as fresh:
        assert fresh.fileno() == number
        assert fresh.getsockname() != address
        with socket.create_connection(fresh.getsockname()):
            loop.run_until_complete(asyncio.wait_for(follow(), TIMEOUT_S))
            fresh.settimeout(TIMEOUT_S)
            fresh.accept()[0].close()
    server.close()
    assert [context["message"] for context in contexts] == ["socket.accept() failed"]
