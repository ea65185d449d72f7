"""The sock_* methods: one operation on a plain non-blocking socket.

Owns: results and errors of sock_connect, sock_accept, sock_recv, sock_recv_into, sock_sendall on
stream sockets.  Cancellation has a file of its own (test_sock_cancel.py).
Thread: the test's own; peers block in worker threads.
Must not: leave an operation pending at the end of a test.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator

import pytest

from tests.support.net import (
    Peer,
    full_listener,
    listen,
    only_on,
    run,
    tcp_pair,
    turns,
    unused_port,
)
from tests.support.payload import MIB, digest, pattern


@contextlib.asynccontextmanager
async def pair(family: str = "tcp") -> AsyncIterator[tuple[socket.socket, Peer]]:
    """A non-blocking socket and a blocking peer."""
    ours, theirs = tcp_pair() if family == "tcp" else socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, Peer(theirs)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_recv_what_is_there_and_what_is_not_yet(
    loop: asyncio.AbstractEventLoop, family: str
) -> None:
    async def main() -> None:
        async with pair(family) as (sock, peer):
            await peer.send(b"there")
            assert await loop.sock_recv(sock, 3) == b"the"
            assert await loop.sock_recv(sock, 100) == b"re"
            waiting = asyncio.ensure_future(loop.sock_recv(sock, 100))
            await turns()
            assert not waiting.done()
            await peer.send(b"later")
            assert await waiting == b"later"
            peer.half_close()
            assert await loop.sock_recv(sock, 100) == b""
            assert await loop.sock_recv(sock, 100) == b""

    run(loop, main())


def test_end_of_stream_while_waiting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (sock, peer):
            waiting = asyncio.ensure_future(loop.sock_recv(sock, 100))
            await turns()
            peer.half_close()
            assert await waiting == b""

    run(loop, main())


def test_reset_while_waiting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (sock, peer):
            waiting = asyncio.ensure_future(loop.sock_recv(sock, 100))
            await turns()
            peer.reset()
            with pytest.raises(ConnectionResetError):
                await waiting

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_recv_into(loop: asyncio.AbstractEventLoop, family: str) -> None:
    async def main() -> None:
        async with pair(family) as (sock, peer):
            buffer = bytearray(b"." * 10)
            await peer.send(b"abcdef")
            assert await loop.sock_recv_into(sock, memoryview(buffer)[2:5]) == 3
            assert buffer == b"..abc....."
            assert await loop.sock_recv_into(sock, buffer) == 3
            assert buffer == b"defbc....."
            waiting = asyncio.ensure_future(loop.sock_recv_into(sock, memoryview(buffer)[8:]))
            await turns()
            assert not waiting.done()
            await peer.send(b"XYZ")
            assert await waiting == 2
            assert buffer == b"defbc...XY"
            assert await loop.sock_recv_into(sock, buffer) == 1
            del buffer[:]  # nobody holds it any longer
            peer.half_close()
            assert await loop.sock_recv_into(sock, bytearray(5)) == 0

    run(loop, main())


def test_recv_into_a_buffer_that_is_read_only(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (sock, _peer):
            with pytest.raises((TypeError, BufferError)):
                await loop.sock_recv_into(sock, b"read-only")

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("size_bytes", [0, 1, 100_000, 20 * MIB])
def test_sendall(loop: asyncio.AbstractEventLoop, size_bytes: int, family: str) -> None:
    async def main() -> None:
        data = pattern(size_bytes)
        async with pair(family) as (sock, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            await loop.sock_sendall(sock, data)
            sock.shutdown(socket.SHUT_WR)
            assert (await reading)[:2] == (size_bytes, digest(data))

    run(loop, main())


@only_on("loopx")
def test_sendall_sends_half_a_mib_a_call(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio sends all by one. What the socket has no room for takes calls more, and a wait."""

    async def main() -> None:
        async with pair() as (sock, peer):
            before = loop.stats()["system_calls"]
            reading = asyncio.ensure_future(peer.digest_to_eof())
            await loop.sock_sendall(sock, bytes(MIB))
            assert loop.stats()["system_calls"] - before >= 3
            sock.shutdown(socket.SHUT_WR)
            assert (await reading)[0] == MIB

    run(loop, main())


def test_sendall_of_other_buffers(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(3 * MIB)
        async with pair() as (sock, peer):
            reading = asyncio.ensure_future(peer.digest_to_eof())
            await loop.sock_sendall(sock, bytearray(data))
            await loop.sock_sendall(sock, memoryview(data)[5:-5])
            sock.shutdown(socket.SHUT_WR)
            assert (await reading)[:2] == (2 * len(data) - 10, digest(data + data[5:-5]))

    run(loop, main())


def test_sendall_to_a_peer_that_is_gone(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (sock, peer):
            sending = asyncio.ensure_future(loop.sock_sendall(sock, b"x" * 16 * MIB))
            await turns()
            assert not sending.done()
            peer.reset()
            with pytest.raises(ConnectionError):
                await sending

    run(loop, main())


def test_sending_and_receiving_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(8 * MIB)
        left, right = tcp_pair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)

            async def read(sock: socket.socket) -> bytes:
                got = bytearray()
                while len(got) < len(data):
                    got += await loop.sock_recv(sock, MIB)
                return bytes(got)

            sending = [loop.sock_sendall(sock, data) for sock in (left, right)]
            got_left, got_right, *_ = await asyncio.gather(read(left), read(right), *sending)
            assert digest(got_left or b"") == digest(got_right or b"") == digest(data)

    run(loop, main())


def test_connect_and_accept(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with listen() as listener, socket.socket() as client:
            listener.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await turns()
            assert not accepting.done()
            await loop.sock_connect(client, listener.getsockname())
            served, address = await accepting
            with served:
                assert served.gettimeout() == 0
                assert address == client.getsockname()
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(served, 10) == b"hello"

    run(loop, main())


def test_accept_of_one_that_waits_already(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with listen() as listener, socket.create_connection(listener.getsockname()) as client:
            listener.setblocking(False)
            served, address = await loop.sock_accept(listener)
            with served:
                assert address == client.getsockname()

    run(loop, main())


def test_connect_and_accept_over_ipv6(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with listen(socket.AF_INET6, ("::1", 0)) as listener:
            with socket.socket(socket.AF_INET6) as client:
                listener.setblocking(False)
                client.setblocking(False)
                await loop.sock_connect(client, listener.getsockname())
                served, address = await loop.sock_accept(listener)
                with served:
                    assert address == client.getsockname()

    run(loop, main())


def test_connect_and_accept_over_a_unix_path(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder:
            path = os.path.join(folder, "socket")
            with listen(socket.AF_UNIX, path) as listener, socket.socket(socket.AF_UNIX) as client:
                listener.setblocking(False)
                client.setblocking(False)
                accepting = asyncio.ensure_future(loop.sock_accept(listener))
                await loop.sock_connect(client, path)
                served, address = await accepting
                with served:
                    assert address == ""
                    await loop.sock_sendall(served, b"hello")
                    assert await loop.sock_recv(client, 10) == b"hello"

    run(loop, main())


def test_connect_resolves_names(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with listen() as listener, socket.socket() as client:
            address = listener.getsockname()
            info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: [info])
            client.setblocking(False)
            await loop.sock_connect(client, ("a-name.test", address[1]))
            assert client.getpeername() == address

    run(loop, main())


def test_connect_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, ("127.0.0.1", unused_port()))

    run(loop, main())


def test_timeout_while_connecting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with full_listener("127.0.0.2") as address, socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await loop.sock_connect(client, address)

    run(loop, main())


def test_many_accepts_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """A queue of connections, taken one by one, none lost."""

    async def main() -> None:
        with listen() as listener, contextlib.ExitStack() as stack:
            listener.setblocking(False)
            names = set()
            for _ in range(50):
                client = stack.enter_context(socket.create_connection(listener.getsockname()))
                names.add(client.getsockname())
            accepted = set()
            for _ in range(50):
                sock, address = await loop.sock_accept(listener)
                stack.enter_context(sock)
                accepted.add(address)
            assert accepted == names

    run(loop, main())


def test_recv_on_a_closed_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.close()
        with pytest.raises(OSError):
            await loop.sock_recv(sock, 10)
        with pytest.raises(OSError):
            await loop.sock_sendall(sock, b"x")

    run(loop, main())


def test_an_ssl_socket_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        left, right = socket.socketpair()
        left.setblocking(False)
        with right, context.wrap_socket(left, do_handshake_on_connect=False) as wrapped:
            for operation in (
                loop.sock_recv(wrapped, 1),
                loop.sock_recv_into(wrapped, bytearray(1)),
                loop.sock_sendall(wrapped, b"x"),
                loop.sock_accept(wrapped),
                loop.sock_connect(wrapped, "x"),
            ):
                with pytest.raises(TypeError, match="SSLSocket"):
                    await operation

    run(loop, main())


def test_a_blocking_socket_is_refused_in_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            for operation in (
                loop.sock_recv(left, 1),
                loop.sock_recv_into(left, bytearray(1)),
                loop.sock_sendall(left, b"x"),
                loop.sock_accept(left),
                loop.sock_connect(left, "x"),
            ):
                with pytest.raises(ValueError, match="non-blocking"):
                    await operation

    loop.set_debug(True)
    run(loop, main())


@only_on("loopx")
def test_a_connect_to_a_full_unix_backlog(loop: asyncio.AbstractEventLoop) -> None:
    """It waits or says EAGAIN; asyncio claims success without a connection."""

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder, contextlib.ExitStack() as stack:
            path = os.path.join(folder, "socket")
            listener = stack.enter_context(listen(socket.AF_UNIX, path))
            listener.listen(0)
            first, second = (
                stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)
            )
            first.connect(path)
            second.setblocking(False)
            connecting = asyncio.ensure_future(loop.sock_connect(second, path))
            await turns(20)
            stack.enter_context(listener.accept()[0])
            try:
                await connecting
            except BlockingIOError:
                with pytest.raises(OSError):
                    second.getpeername()
            else:
                assert second.getpeername() == path

    run(loop, main())
