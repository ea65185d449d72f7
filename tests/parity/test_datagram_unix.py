"""Datagram endpoints on Unix sockets: by path, unbound, abstract, as a pair.

Owns: what the family does differently: names, stale files, long datagrams, full receivers.
Thread: the test's own.
Must not: leave a socket file outside of the test's own folder.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.datagrams import endpoint, name_of, unix_pair, unix_socket
from tests.support.net import only_on, run
from tests.support.payload import pattern

LOCAL: Any = {"family": socket.AF_UNIX}


def test_by_path_both_ways(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        paths = [str(tmp_path / name) for name in ("one", "other")]
        async with (
            endpoint(paths[0], **LOCAL) as one,
            endpoint(paths[1], remote_addr=paths[0], **LOCAL) as other,
        ):
            assert name_of(one) == paths[0]
            assert other.transport.get_extra_info("peername") == paths[0]
            other.transport.sendto(b"question")
            other.transport.sendto(b"with its address", paths[0])
            await one.until(lambda: len(one.received) == 2)
            assert one.received == [(b"question", paths[1]), (b"with its address", paths[1])]
            one.transport.sendto(b"answer", paths[1])
            assert await other.datagrams(1) == [b"answer"]
            with pytest.raises(ValueError, match="Invalid address"):
                other.transport.sendto(b"x", paths[1])

    run(loop, main())


def test_unbound(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """Its datagrams have no address to answer to."""

    async def main() -> None:
        path = str(tmp_path / "server")
        async with endpoint(path, **LOCAL) as server, endpoint(**LOCAL) as client:
            assert name_of(client) == ""
            client.transport.sendto(b"from nowhere", path)
            await server.until(lambda: server.received)
            assert server.received == [(b"from nowhere", None)]

    run(loop, main())


def test_abstract_names(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        name = f"\0loopx-test-{os.getpid()}"
        async with (
            endpoint(name, **LOCAL) as server,
            endpoint(name + "-client", remote_addr=name, **LOCAL) as client,
        ):
            client.transport.sendto(b"hello")
            await server.until(lambda: server.received)
            assert server.received == [(b"hello", (name + "-client").encode())]
            server.transport.sendto(b"you", server.received[0][1])
            assert await client.datagrams(1) == [b"you"]

    run(loop, main())


def test_a_stale_file_is_replaced(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "socket")
        with unix_socket(path):
            pass
        assert os.path.exists(path)
        async with endpoint(path, **LOCAL) as server, endpoint(**LOCAL) as client:
            client.transport.sendto(b"x", path)
            assert await server.datagrams(1) == [b"x"]

    run(loop, main())


def test_a_file_that_is_no_socket_stays(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        path.write_text("precious")
        with pytest.raises(OSError, match="already in use"):
            async with endpoint(str(path), **LOCAL):
                pass
        assert path.read_text() == "precious"

    run(loop, main())


@pytest.mark.parametrize("address", [("127.0.0.1", 5), b"/path", 5], ids=repr)
def test_what_is_no_path(loop: asyncio.AbstractEventLoop, address: Any) -> None:
    async def main() -> None:
        for options in ({"local_addr": address}, {"remote_addr": address}):
            with pytest.raises(TypeError, match="string is expected"):
                async with endpoint(**options, **LOCAL):
                    pass

    run(loop, main())


def test_nobody_there(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """When sending it is error_received; when connecting it is raised."""

    async def main() -> None:
        path = str(tmp_path / "nobody")
        async with endpoint(**LOCAL) as client:
            client.transport.sendto(b"x", path)
            assert [type(error) for error in client.errors] == [FileNotFoundError]
            with unix_socket(path):
                pass
            client.transport.sendto(b"x", path)
            assert type(client.errors[1]) is ConnectionRefusedError
            assert not client.transport.is_closing()
        with pytest.raises(ConnectionRefusedError):
            async with endpoint(remote_addr=path, **LOCAL):
                pass

    run(loop, main())


@pytest.mark.parametrize("size_bytes", [65_508, 150_000, 262_144])
def test_longer_than_udp_allows(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, size_bytes: int
) -> None:
    """One arrives whole, however long; a shorter one after it is not longer for that."""

    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours) as protocol:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                data = pattern(size_bytes)
                theirs.send(data)
                theirs.send(b"short")
                assert await protocol.datagrams(2) == [data, b"short"]

    run(loop, main())


@only_on("loopx")
def test_the_longest(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    """asyncio cuts off what is longer than 256 KiB."""

    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            async with endpoint(sock=ours) as protocol:
                for name in (socket.SO_SNDBUF, getattr(socket, "SO_SNDBUFFORCE", 32)):
                    with contextlib.suppress(PermissionError):
                        theirs.setsockopt(socket.SOL_SOCKET, name, 8 << 20)
                longest = 0
                for size_bytes in (300_000, 400_000, 1 << 20, 4 << 20, (4 << 20) + 60_000):
                    data = pattern(size_bytes)
                    try:
                        theirs.send(data)
                    except OSError:  # ours is not allowed a send buffer of that size
                        break
                    longest = size_bytes
                    assert await protocol.datagrams(1) == [data]
                assert longest >= 400_000

    run(loop, main())


@only_on("loopx")
def test_a_pair_without_names(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio takes a peer without a name for none, and closes the endpoint for a TypeError."""

    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with theirs:
            async with endpoint(sock=ours) as protocol:
                theirs.send(b"in")
                await protocol.until(lambda: protocol.received)
                assert protocol.received == [(b"in", None)]
                protocol.transport.sendto(b"out")
                assert theirs.recv(10) == b"out"

    run(loop, main())
