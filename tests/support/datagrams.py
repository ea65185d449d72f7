"""Helpers for tests on datagrams: a recording protocol, endpoints that are closed, sockets.

Owns: the protocol, the pairs of sockets, and what fills a Unix socket's queue.
Thread: protocols run on the loop's thread; the sockets made here do not block.
Must not: sleep to synchronise, choose a port, or leave a descriptor behind.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

ANY_PORT = ("127.0.0.1", 0)
LARGEST_UDP_BYTES = 65_507
# Sent one after the other to one socket, so many of the usual length fit into its buffer.
BURST = 50


class DatagramRecorder(asyncio.DatagramProtocol):
    """Writes down every call; `received` and `errors` hold what came, `lost` is a future."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.transport: Any = None
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("connection_made")
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.calls.append("datagram_received")
        self.received.append((data, addr))
        self._news.set()

    def error_received(self, exc: Exception) -> None:
        self.calls.append("error_received")
        self.errors.append(exc)
        self._news.set()

    def pause_writing(self) -> None:
        self.calls.append("pause_writing")
        self._news.set()

    def resume_writing(self) -> None:
        self.calls.append("resume_writing")
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("connection_lost")
        self.lost.set_result(exc)
        self._news.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; it is looked at after each call."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def datagrams(self, count: int) -> list[bytes]:
        """Take `count` datagrams from what has come; waits for them."""
        await self.until(lambda: len(self.received) >= count)
        taken, self.received[:count] = self.received[:count], []
        return [data for data, _ in taken]


@contextlib.asynccontextmanager
async def endpoint(
    local_addr: Any = None, factory: Callable[[], Any] = DatagramRecorder, **options: Any
) -> AsyncIterator[Any]:
    """The protocol of an endpoint, which is aborted and gone at the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, local_addr, **options)
    try:
        yield protocol
    finally:
        # asyncio's abort() fails on a transport that is gone.
        if not protocol.lost.done():
            transport.abort()
        await protocol.lost


def name_of(protocol: DatagramRecorder) -> Any:
    return protocol.transport.get_extra_info("sockname")


@contextlib.contextmanager
def udp_socket(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A bound, non-blocking UDP socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((host, 0))
        yield sock


@contextlib.contextmanager
def unix_socket(path: str | None = None) -> Iterator[socket.socket]:
    """A non-blocking Unix datagram socket, bound if there is a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if path is not None:
            sock.bind(path)
        yield sock


@contextlib.contextmanager
def unix_pair(folder: Any) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected Unix datagram sockets with names: nobody else can send to them."""
    paths = [str(folder / name) for name in ("ours", "theirs")]
    with unix_socket(paths[0]) as ours, unix_socket(paths[1]) as theirs:
        ours.connect(paths[1])
        theirs.connect(paths[0])
        yield ours, theirs


def fill(sock: socket.socket, *target: Any) -> int:
    """Send one-byte datagrams until no more fit; returns how many did."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.sendto(b"f", *target) if target else sock.send(b"f")
            count += 1
    return count


def drain(sock: socket.socket) -> list[bytes]:
    """Everything that a non-blocking socket has received."""
    received = []
    with contextlib.suppress(BlockingIOError):
        while True:
            received.append(sock.recv(1 << 20))
    return received


def refusing_address() -> tuple[str, int]:
    """An address of 127.0.0.1 where no socket is just now: sending there is refused."""
    with udp_socket() as sock:
        name: tuple[str, int] = sock.getsockname()
        return name
