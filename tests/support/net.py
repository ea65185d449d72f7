"""Helpers for tests on real sockets: bounded runs, recording protocols, peers in threads.

Owns: which kinds of loop a test is for, connected pairs, servers on port 0, and the blocking
peers that stand at the other end.
Thread: protocols run on the loop's thread; a `Peer` blocks in worker threads, so that what the
test sees from outside does not depend on the loop under test.
Must not: sleep to synchronise, choose a port, or leave a descriptor, task or thread behind.
"""

import asyncio
import contextlib
import hashlib
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar, cast

import pytest

from tests.support.loops import selected_kinds
from tests.support.patience import PATIENCE
from tests.support.payload import MIB
from tests.support.recorders import Recorder, RecordingProtocol

T = TypeVar("T")
P = TypeVar("P", bound=RecordingProtocol)

RUN_S = 20.0
TIMEOUT_S = PATIENCE * RUN_S


def only_on(*kinds: str) -> pytest.MarkDecorator:
    """Run the test on these kinds of loop alone, and say in its docstring why."""
    wanted = [kind for kind in selected_kinds() if kind in kinds]
    return pytest.mark.parametrize("loop_kind", wanted, indirect=True)


def since_python(major: int, minor: int) -> pytest.MarkDecorator:
    """For what asyncio has since that Python: older ones run the test on loopx alone."""
    newer = sys.version_info >= (major, minor)
    return only_on("asyncio", "loopx") if newer else only_on("loopx")


def run(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T], timeout_s: float = RUN_S
) -> T:
    """Run `coro` on `loop`; TimeoutError if it takes longer than `timeout_s` seconds, usually."""
    return loop.run_until_complete(asyncio.wait_for(coro, PATIENCE * timeout_s))


def capture_errors(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """Install an exception handler and return the list that it fills."""
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    return errors


async def turns(count: int = 10) -> None:
    """Let the loop go round `count` times; for showing that something does NOT happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def dial(address: tuple[str, int]) -> Recorder:
    """A connected client."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(Recorder, *address)
    return client


async def echo_once(client: Recorder, text: bytes = b"hello") -> None:
    """One round trip: the server has accepted when this returns."""
    client.transport.write(text)
    assert await client.read(len(text)) == text


class Peer:
    """A blocking socket at the other end; its methods run in worker threads, with a timeout."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT_S)
        self.sock = sock

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await asyncio.to_thread(self.sock.sendall, data)

    async def recv(self, max_bytes: int = 65536) -> bytes:
        return await asyncio.to_thread(self.sock.recv, max_bytes)

    async def recv_exactly(self, size_bytes: int) -> bytes:
        """Raises EOFError if the stream ends before `size_bytes`."""

        def loop() -> bytes:
            data = bytearray(size_bytes)
            view, got = memoryview(data), 0
            while got < size_bytes:
                count = self.sock.recv_into(view[got:])
                if not count:
                    raise EOFError(f"{got} of {size_bytes} bytes")
                got += count
            return bytes(data)

        return await asyncio.to_thread(loop)

    async def recv_to_eof(self) -> bytes:
        return (await self.digest_to_eof(keep=True))[2]

    async def digest_to_eof(self, *, keep: bool = False) -> tuple[int, str, bytes]:
        """Read to the end: (bytes, SHA-256, the data if `keep`)."""

        def loop() -> tuple[int, str, bytes]:
            space, kept, total = bytearray(MIB), bytearray(), 0
            view, sha = memoryview(space), hashlib.sha256()
            while count := self.sock.recv_into(space):
                total += count
                sha.update(view[:count])
                if keep:
                    kept += view[:count]
            return total, sha.hexdigest(), bytes(kept)

        return await asyncio.to_thread(loop)

    def fill(self) -> int:
        """Send without waiting until the kernel takes no more; returns the bytes it took."""
        self.sock.settimeout(0)
        sent_bytes = 0
        try:
            while True:
                sent_bytes += self.sock.send(b"f" * 65536)
        except BlockingIOError:
            return sent_bytes
        finally:
            self.sock.settimeout(TIMEOUT_S)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset instead of an end of stream (TCP)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def listen(
    family: socket.AddressFamily = socket.AF_INET, address: Any = ("127.0.0.1", 0)
) -> socket.socket:
    """A blocking listening socket on a port chosen by the kernel."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(TIMEOUT_S)
    sock.bind(address)
    sock.listen(128)
    return sock


def unused_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with listen() as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def full_listener(host: str) -> Iterator[tuple[str, int]]:
    """An address that neither accepts nor refuses: its queue is full, and nobody empties it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        for _ in range(16):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0.05)
            try:
                sock.connect(listener.getsockname())
            except TimeoutError:
                yield listener.getsockname()
                return
        raise AssertionError("the kernel queues more connections than it was asked to")


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, both blocking: (dialled, accepted)."""
    with listen() as listener:
        dialled = socket.create_connection(listener.getsockname(), timeout=TIMEOUT_S)
        accepted, _ = listener.accept()
    return dialled, accepted


def small_send_buffer(sock: Any) -> None:
    """Make the kernel take little at a time, so that one write needs many sends."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


async def finish(*protocols: RecordingProtocol) -> None:
    """Abort what is still open and wait for each connection_lost."""
    for protocol in protocols:
        # asyncio's abort() fails on a transport that has flushed and is gone (3.11 to 3.13).
        if not protocol.lost.done():
            protocol.transport.abort()
    for protocol in protocols:
        await protocol.lost


@contextlib.asynccontextmanager
async def with_peer(
    factory: Callable[[], P], family: str = "tcp"
) -> AsyncIterator[tuple[P, Peer]]:
    """A transport over one end of a connection, a `Peer` at the other; both closed at the end.

    `family` is "tcp" or "unix".
    """
    ours, theirs = tcp_pair() if family == "tcp" else socket.socketpair()
    peer = Peer(theirs)
    try:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cast(Any, factory), sock=ours)
        try:
            yield protocol, peer
        finally:
            peer.close()
            await finish(protocol)
    finally:
        peer.close()


class Followed:
    """A protocol factory that knows when all of its connections are over.

    wait_closed() tells that since Python 3.12 only.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory
        self.protocols: list[RecordingProtocol] = []

    def __call__(self) -> Any:
        protocol = self.factory()
        if isinstance(protocol, RecordingProtocol):
            self.protocols.append(protocol)
        return protocol

    async def ended(self) -> None:
        """Wait for connection_lost of every protocol that had a connection."""
        for protocol in self.protocols:
            if "connection_made" in protocol.calls:
                await protocol.lost


class Served(NamedTuple):
    """A running server and the address of its first socket."""

    server: asyncio.Server
    address: tuple[str, int]


@contextlib.asynccontextmanager
async def serving(factory: Callable[[], Any], **options: Any) -> AsyncIterator[Served]:
    """`loop.create_server(factory)` on 127.0.0.1, port 0; closed and waited for at the end."""
    loop = asyncio.get_running_loop()
    followed = Followed(factory)
    server = await loop.create_server(followed, "127.0.0.1", 0, **options)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield Served(server, (host, port))
    finally:
        server.close()
        await server.wait_closed()
        await followed.ended()


@contextlib.asynccontextmanager
async def connected(
    client_factory: Callable[[], P],
    server_factory: Callable[[], P],
    *,
    server_options: dict[str, Any] | None = None,
    **client_options: Any,
) -> AsyncIterator[tuple[P, P]]:
    """A client and a server protocol joined over 127.0.0.1 by create_connection/create_server."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[P] = loop.create_future()

    def factory() -> P:
        protocol = server_factory()
        accepted.set_result(protocol)
        return protocol

    async with serving(factory, **(server_options or {})) as served:
        _, client = await loop.create_connection(
            cast(Any, client_factory), *served.address, **client_options
        )
        server = await accepted
        await server.made
        try:
            yield client, server
        finally:
            await finish(client, server)
