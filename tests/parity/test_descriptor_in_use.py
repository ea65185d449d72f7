"""A descriptor that a transport uses: nobody else may watch it, or wait for it.

Owns: add_reader, add_writer, the sock_* methods and a second transport on a transport's own
descriptor.
Thread: the test's own.
Must not: leave an operation pending at the end of a test.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from tests.support import certs
from tests.support.net import only_on, run, turns
from tests.support.payload import MIB
from tests.support.recorders import Recorder


@contextlib.contextmanager
def in_use(kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """A connected, non-blocking socket whose peer says nothing."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    with ours, theirs:
        yield ours


def test_watching(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with in_use() as sock:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock.dup())
            fd = transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(fd)) as other:
                await loop.sock_sendall(other, b"another descriptor is fine")
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(fd, lambda: None)
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_writer(fd, lambda: None)
            transport.abort()
            await turns()

    run(loop, main())


def test_waiting(loop: asyncio.AbstractEventLoop) -> None:
    """Two that wait for one socket would take each other's data."""

    async def main() -> None:
        with in_use() as sock:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
            for receiving in (
                loop.sock_recv(sock, 1),
                loop.sock_recv_into(sock, bytearray(1)),
                loop.sock_recvfrom(sock, 1),
                loop.sock_recvfrom_into(sock, bytearray(1)),
                loop.sock_sendall(sock, bytes(20 * MIB)),
            ):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await receiving
            transport.abort()
            await turns()

    run(loop, main())


@pytest.mark.parametrize("kind", ["connection", "unix", "accepted", "tls", "datagram"])
def test_a_second_transport(loop: asyncio.AbstractEventLoop, kind: str) -> None:
    """It is refused, and the first one goes on."""
    if isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("by its version, asyncio gives the second what comes in, or closes the socket")
    stream = kind != "datagram"

    async def connect(sock: socket.socket) -> asyncio.BaseTransport:
        factory = asyncio.DatagramProtocol if kind == "datagram" else Recorder
        if kind == "connection":
            return (await loop.create_connection(factory, sock=sock))[0]
        if kind == "unix":
            return (await loop.create_unix_connection(factory, sock=sock))[0]
        if kind == "tls":
            tls = {"ssl": certs.client_context(), "server_hostname": certs.HOSTNAME}
            return (await loop.create_connection(factory, sock=sock, **tls))[0]
        if kind == "accepted":
            return (await loop.connect_accepted_socket(factory, sock))[0]
        return (await loop.create_datagram_endpoint(factory, sock=sock))[0]

    async def main() -> None:
        with in_use(socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
            if stream:
                transport, _ = await loop.create_connection(Recorder, sock=sock)
            else:
                transport = await connect(sock)
            for second in (sock, socket.socket(fileno=sock.fileno())):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await connect(second)
                assert sock.fileno() >= 0
                if second is not sock:
                    second.detach()
            if stream:
                transport.write(b"on")
                assert transport.get_protocol().transport is transport
            transport.abort()
            await turns()

    run(loop, main())


def test_a_transport_that_is_closing(loop: asyncio.AbstractEventLoop) -> None:
    """It lets go of its descriptor; what watched it may be removed at any time."""

    async def main() -> None:
        with in_use() as sock:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
            fd = sock.fileno()
            transport.abort()
            assert not loop.remove_reader(fd)
            assert not loop.remove_writer(fd)
            await turns()

    run(loop, main())


@only_on("loopx")
def test_a_number_whose_socket_was_closed_behind_the_transport(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """It is another file's by now. asyncio goes by the number alone."""

    async def main() -> None:
        with in_use() as sock, contextlib.ExitStack() as stack:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
            transport.pause_reading()
            fd = sock.fileno()
            sock.close()
            while (other := stack.enter_context(os.fdopen(os.eventfd(0), "rb"))).fileno() != fd:
                pass
            told = asyncio.Event()
            loop.add_reader(other, told.set)
            os.eventfd_write(fd, 1)
            await told.wait()
            assert loop.remove_reader(other)
            transport.abort()
            await turns()

    run(loop, main())
