"""sock_recvfrom, sock_recvfrom_into and sock_sendto: one datagram on a plain socket.

Owns: their results, their errors, and what cancelling leaves behind; and messages by sock_sendall.
Thread: the test's own; both ends are non-blocking sockets of the test.
Must not: leave an operation pending at the end of a test.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.datagrams import (
    LARGEST_UDP_BYTES,
    drain,
    fill,
    refusing_address,
    udp_socket,
    unix_pair,
    unix_socket,
)
from tests.support.net import run, turns
from tests.support.payload import pattern

Pair = tuple[socket.socket, socket.socket]


async def receive_bytes(sock: socket.socket, size_bytes: int) -> tuple[bytes, Any]:
    return await asyncio.get_running_loop().sock_recvfrom(sock, size_bytes)


async def receive_into(sock: socket.socket, size_bytes: int) -> tuple[bytes, Any]:
    """As sock_recvfrom, by way of sock_recvfrom_into."""
    buffer = bytearray(size_bytes)
    length, address = await asyncio.get_running_loop().sock_recvfrom_into(sock, buffer)
    return bytes(buffer[:length]), address


receivers = pytest.mark.parametrize("receive", [receive_bytes, receive_into])
Receive = Callable[[socket.socket, int], Any]


@pytest.fixture(params=["udp", "udp6", "unix"])
def pair(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Pair]:
    """Two sockets that can send to each other by name."""
    if request.param == "unix":
        with unix_pair(tmp_path) as socks:
            yield socks
        return
    host = "127.0.0.1" if request.param == "udp" else "::1"
    with udp_socket(host) as ours, udp_socket(host) as theirs:
        yield ours, theirs


@receivers
def test_both_ways(loop: asyncio.AbstractEventLoop, pair: Pair, receive: Receive) -> None:
    ours, theirs = pair

    async def main() -> None:
        waiting = asyncio.ensure_future(receive(theirs, 100))
        await turns()
        assert not waiting.done()
        assert await loop.sock_sendto(ours, b"asked", theirs.getsockname()) == 5
        data, address = await waiting
        assert (data, address) == (b"asked", ours.getsockname())
        assert await loop.sock_sendto(theirs, b"answered", address) == 8
        assert await receive(ours, 100) == (b"answered", theirs.getsockname())

    run(loop, main())


@receivers
def test_an_empty_datagram_is_one(
    loop: asyncio.AbstractEventLoop, pair: Pair, receive: Receive
) -> None:
    ours, theirs = pair

    async def main() -> None:
        waiting = asyncio.ensure_future(receive(theirs, 100))
        await turns()
        assert await loop.sock_sendto(ours, b"", theirs.getsockname()) == 0
        assert await waiting == (b"", ours.getsockname())

    run(loop, main())


@receivers
def test_the_largest_and_one_that_is_too_large(
    loop: asyncio.AbstractEventLoop, receive: Receive
) -> None:
    async def main() -> None:
        with udp_socket() as ours, udp_socket() as theirs:
            data = pattern(LARGEST_UDP_BYTES)
            waiting = asyncio.ensure_future(receive(theirs, 1 << 17))
            await turns()
            assert await loop.sock_sendto(ours, data, theirs.getsockname()) == len(data)
            assert await waiting == (data, ours.getsockname())
            with pytest.raises(OSError, match="too long") as failure:
                await loop.sock_sendto(ours, data + b"1", theirs.getsockname())
            assert failure.value.errno == errno.EMSGSIZE
            assert await loop.sock_sendto(ours, b"next", theirs.getsockname()) == 4
            assert (await receive(theirs, 100))[0] == b"next"

    run(loop, main())


def test_what_is_longer_than_asked_for_is_cut(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    ours, theirs = pair

    async def main() -> None:
        for data in (b"first", b"second", b"third"):
            await loop.sock_sendto(ours, data, theirs.getsockname())
        buffer = bytearray(b"." * 8)
        assert (await loop.sock_recvfrom(theirs, 2))[0] == b"fi"
        assert (await loop.sock_recvfrom_into(theirs, buffer, 3))[0] == 3
        assert (await loop.sock_recvfrom_into(theirs, memoryview(buffer)[4:]))[0] == 4
        assert buffer == b"sec.thir"
        with pytest.raises(ValueError, match="greater than the length"):
            await loop.sock_recvfrom_into(theirs, buffer, 9)

    run(loop, main())


@receivers
def test_refused(loop: asyncio.AbstractEventLoop, receive: Receive) -> None:
    """The network's answer (ICMP) to a connected socket, also to one that waits already."""

    async def main() -> None:
        address = refusing_address()
        with udp_socket() as sock:
            sock.connect(address)
            waiting = asyncio.ensure_future(receive(sock, 100))
            await turns()
            assert await loop.sock_sendto(sock, b"anybody?", address) == 8
            with pytest.raises(ConnectionRefusedError):
                await waiting
            assert await loop.sock_sendto(sock, b"anybody?", address) == 8
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_sendto(sock, b"anybody?", address)

    run(loop, main())


def test_no_such_unix_socket(loop: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            with pytest.raises(FileNotFoundError):
                await loop.sock_sendto(ours, b"x", str(tmp_path / "missing"))
            theirs.close()
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_sendto(ours, b"x", str(tmp_path / "theirs"))

    run(loop, main())


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_sendto_waits_for_a_full_receiver(
    loop: asyncio.AbstractEventLoop, tmp_path: Any, connected: bool
) -> None:
    path = str(tmp_path / "theirs")

    async def main() -> None:
        with unix_socket(path) as theirs, unix_socket() as ours:
            if connected:
                ours.connect(path)
            filled = fill(ours, path)
            sending = asyncio.ensure_future(loop.sock_sendto(ours, b"last", path))
            await turns()
            assert not sending.done()
            assert drain(theirs) == [b"f"] * filled
            assert await sending == 4
            assert drain(theirs) == [b"last"]

    run(loop, main())


@receivers
def test_a_cancelled_receive_takes_nothing(
    loop: asyncio.AbstractEventLoop, pair: Pair, receive: Receive
) -> None:
    ours, theirs = pair

    async def main() -> None:
        for number in range(10):
            waiting = asyncio.ensure_future(receive(theirs, 100))
            await turns(3)
            if number % 2:  # cancelled as the datagram comes
                ours.sendto(b"%d" % number, theirs.getsockname())
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            if not number % 2:
                ours.sendto(b"%d" % number, theirs.getsockname())
            assert (await receive(theirs, 100))[0] == b"%d" % number

    run(loop, main())


def test_a_cancelled_send_sends_nothing(loop: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            filled = fill(ours)
            sending = asyncio.ensure_future(loop.sock_sendto(ours, b"x", str(tmp_path / "theirs")))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert drain(theirs) == [b"f"] * filled
            await turns()
            assert drain(theirs) == []

    run(loop, main())


def test_the_descriptor_is_free_after_a_cancelled_receive(loop: asyncio.AbstractEventLoop) -> None:
    """Closed at once; another socket of the same number gets its own datagrams."""

    async def main() -> None:
        with udp_socket() as old:
            waiting = asyncio.ensure_future(loop.sock_recvfrom(old, 100))
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            number, name = old.fileno(), old.getsockname()
        with udp_socket() as new, udp_socket() as sender:
            assert number in (new.fileno(), sender.fileno())
            waiting = asyncio.ensure_future(loop.sock_recvfrom(new, 100))
            await turns()
            sender.sendto(b"old", name)
            sender.sendto(b"new", new.getsockname())
            assert (await waiting)[0] == b"new"

    run(loop, main())


def test_a_blocking_socket_is_refused_in_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)

    async def main() -> None:
        with udp_socket() as sock:
            sock.setblocking(True)
            for call in (
                loop.sock_recvfrom(sock, 1),
                loop.sock_recvfrom_into(sock, bytearray(1)),
                loop.sock_sendto(sock, b"x", sock.getsockname()),
            ):
                with pytest.raises(ValueError, match="must be non-blocking"):
                    await call

    run(loop, main())


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_sendall_of_a_large_message(
    loop: asyncio.AbstractEventLoop, kind: socket.SocketKind
) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        ours.setblocking(False)
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_000_000)
            if ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2_000_000:
                pytest.skip("net.core.wmem_max is too small")
            await loop.sock_sendall(ours, pattern(600_000))
            assert theirs.recv(1_000_000) == pattern(600_000)

    run(loop, main())
