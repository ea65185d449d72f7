"""A descriptor that a transport uses: nobody else may watch it, or wait for it.

Owns: add_reader, add_writer and the sock_* methods on a transport's own descriptor.
Thread: the test's own.
Must not: leave an operation pending at the end of a test.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from tests.support.net import run, turns
from tests.support.payload import MIB


@contextlib.contextmanager
def in_use() -> Iterator[socket.socket]:
    """A connected, non-blocking socket whose peer says nothing."""
    ours, theirs = socket.socketpair()
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
