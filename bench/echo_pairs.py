"""Workloads on connections: both ends are on one loop and do the same, in one process.

Owns the ends, the servers and clients, and their taking down. A message is one operation, whichever
end it reaches: what is counted is a loop's receiving and sending, and no client of another kind.
Used by ``bench.workloads`` on a running loop; nothing here looks at the clock.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

HOST = "127.0.0.1"
MESSAGE = b"x" * 1023 + b"\n"
BUFFER_BYTES = 65_536

Operate = Callable[[int], Awaitable[None]]


class Ends:
    """All ends of the connections: how many messages each still sends back, and who is through.

    One message goes to and fro on each connection. An end that has sent back its share keeps the
    next one: that connection is through, and nothing is in flight on it.
    """

    def __init__(self) -> None:
        self.each: list[ProtocolEnd | BufferedEnd | StreamEnd | SocketEnd] = []
        self.starters: list[Callable[[], object]] = []

    async def send_to_and_fro(self, count: int) -> None:
        """Have ``count`` messages sent back, the same number by each end."""
        share, rest = divmod(count, len(self.each))
        assert rest == 0, f"{count} messages for {len(self.each)} ends"
        for end in self.each:
            end.left = share
        self.going = len(self.starters)
        self.done = asyncio.get_running_loop().create_future()
        for start in self.starters:
            start()
        await self.done

    def one_is_through(self) -> None:
        self.going -= 1
        if not self.going:
            self.done.set_result(None)


class ProtocolEnd(asyncio.Protocol):
    """Writes back what it is given, as long as it has any left to do."""

    left = 0

    def __init__(self, ends: Ends) -> None:
        self.ends = ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport
        self.ends.each.append(self)

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.left -= 1
            self.transport.write(data)
        else:
            self.ends.one_is_through()


class BufferedEnd(asyncio.BufferedProtocol):
    """Receives into a buffer of its own, which is asked for each time, and writes it back."""

    left = 0

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.buffer = memoryview(bytearray(BUFFER_BYTES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.ends.each.append(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.left:
            self.left -= 1
            self.transport.write(bytes(self.buffer[:nbytes]))
        else:
            self.ends.one_is_through()


class StreamEnd:
    """Reads a line and writes it back, with ``drain``."""

    left = 0

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        ends.each.append(self)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if self.left:
                self.left -= 1
                writer.write(line)
                await writer.drain()
            else:
                self.ends.one_is_through()


class SocketEnd:
    """``sock_recv`` and ``sock_sendall``: no transport at all."""

    left = 0

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        ends.each.append(self)

    async def serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(connection, 65536):
            if self.left:
                self.left -= 1
                await loop.sock_sendall(connection, data)
            else:
                self.ends.one_is_through()


class SocketIntoEnd(SocketEnd):
    """``sock_recv_into`` a buffer that is kept."""

    async def serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(BUFFER_BYTES))
        while length := await loop.sock_recv_into(connection, buffer):
            if self.left:
                self.left -= 1
                await loop.sock_sendall(connection, buffer[:length])
            else:
                self.ends.one_is_through()


async def until_there(ends: Ends, count: int) -> None:
    """Wait until the listening side knows of its connections too."""
    while len(ends.each) < count:
        await asyncio.sleep(0)


@asynccontextmanager
async def protocol_echo(
    connections: int, kind: type[ProtocolEnd | BufferedEnd] = ProtocolEnd, tls: bool = False
) -> AsyncIterator[Operate]:
    """Connections of asyncio protocols, over TLS 1.3 if asked for."""
    loop = asyncio.get_running_loop()
    ends = Ends()
    serving, connecting = tls_contexts() if tls else (None, None)
    name = "localhost" if tls else None
    server = await loop.create_server(partial(kind, ends), HOST, 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    for index in range(connections):
        transport, _ = await loop.create_connection(
            partial(kind, ends), HOST, port, ssl=connecting, server_hostname=name
        )
        ends.starters.append(partial(transport.write, MESSAGE))
        await until_there(ends, 2 * index + 2)
    yield ends.send_to_and_fro
    for end in ends.each:
        assert isinstance(end, kind)
        end.transport.abort()
    server.close()


def tls_contexts() -> tuple[Any, Any]:
    """Return the contexts of a server and of its client, with a certificate made just now."""
    import ssl

    import trustme

    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("localhost").configure_cert(serving)
    connecting = ssl.create_default_context()
    authority.configure_trust(connecting)
    return serving, connecting


@asynccontextmanager
async def streams_echo(connections: int) -> AsyncIterator[Operate]:
    """Connections of asyncio streams, line by line."""
    loop = asyncio.get_running_loop()
    ends = Ends()
    serving: list[asyncio.Future[None]] = []
    writers, kept = [], []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done = loop.create_future()
        serving.append(done)
        await StreamEnd(ends).serve(reader, writer)
        writer.close()
        await writer.wait_closed()
        done.set_result(None)

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    for index in range(connections):
        reader, writer = await asyncio.open_connection(HOST, port)
        ends.starters.append(partial(writer.write, MESSAGE))
        writers.append(writer)
        kept.append(loop.create_task(serve(reader, writer)))
        await until_there(ends, 2 * index + 2)
    yield ends.send_to_and_fro
    for writer in writers:
        writer.close()
    await asyncio.gather(*kept, *serving)
    server.close()


@asynccontextmanager
async def socket_echo(
    connections: int, kind: type[SocketEnd] = SocketEnd
) -> AsyncIterator[Operate]:
    """Connected TCP sockets that are no transport's."""
    ends = Ends()
    sockets = []
    serving = []
    for _ in range(connections):
        with socket.create_server((HOST, 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
        for each in (near, far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(each)
            serving.append(asyncio.ensure_future(kind(ends).serve(each)))
        ends.starters.append(partial(near.send, MESSAGE))
    await asyncio.sleep(0)
    yield ends.send_to_and_fro
    for each in sockets:
        each.shutdown(socket.SHUT_WR)
    await asyncio.gather(*serving)
    for each in sockets:
        each.close()


class HTTPClient(asyncio.Protocol):
    """Sends the same request again once it has its answer."""

    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport

    def begin(self, count: int, done: Callable[[], object]) -> None:
        self.left, self.done = count, done
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not data.endswith(b"Hello, world!\n"):
            return
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.done()


@asynccontextmanager
async def aiohttp_hello(connections: int) -> AsyncIterator[Operate]:
    """Requests to aiohttp's smallest application; the client's end is counted too."""
    from bench.servers.web import answer_hello, run_aiohttp

    loop = asyncio.get_running_loop()
    serving = await run_aiohttp(answer_hello, None)
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(HTTPClient, HOST, serving.port)
        clients.append(client)

    async def operate(count: int) -> None:
        share, rest = divmod(count, connections)
        assert rest == 0, f"{count} requests for {connections} connections"
        going = connections
        done = loop.create_future()

        def one_is_through() -> None:
            nonlocal going
            going -= 1
            if not going:
                done.set_result(None)

        for client in clients:
            client.begin(share, one_is_through)
        await done

    yield operate
    for client in clients:
        client.transport.abort()
    await serving.kept.cleanup()  # type: ignore[attr-defined]
