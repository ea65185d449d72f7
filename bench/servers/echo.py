"""Echo servers: one per way in which asyncio code reads and writes a stream.

Owns the protocols and coroutines that echo. Everything runs on the loop's thread. They must stay
as plain as a user would write them: no tuning for one loop. The kinds are named in ``STARTERS``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench.certificates import issue_certificate

HOST = "127.0.0.1"
BACKLOG = 4096
BULK_BYTES = 64 * 1024
BUFFER_BYTES = 64 * 1024
BULK_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class EchoOptions:
    """What the load will send, and where to leave the certificate authority (TLS only)."""

    size_bytes: int
    ca_file: Path | None
    answer_bytes: int = 0      # of transfers alone (bench/servers/transfer.py)

    @property
    def buffer_bytes(self) -> int:
        """How much to read at once, for the kinds in which the application chooses."""
        return BUFFER_BYTES if self.size_bytes < BULK_BYTES else BULK_BUFFER_BYTES


@dataclass(frozen=True)
class Serving:
    """A server that accepts connections: its port, and what must be kept for it to live.

    ``unix_name`` is @ and the abstract name of a Unix socket, which has no port.
    """

    port: int
    kept: object
    unix_name: str = ""


def serving(server: asyncio.AbstractServer) -> Serving:
    """Return the port that ``create_server`` was given, with the server."""
    return Serving(server.sockets[0].getsockname()[1], server)  # type: ignore[attr-defined]


class EchoProtocol(asyncio.Protocol):
    """Writes back what it is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


class BufferedEchoProtocol(asyncio.BufferedProtocol):
    """Receives into a buffer of its own and writes back a copy of what came.

    A copy, because a transport may keep what it could not send while the buffer is filled again.
    """

    def __init__(self, buffer_bytes: int) -> None:
        self.view = memoryview(bytearray(buffer_bytes))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.view[:nbytes]))  # type: ignore[attr-defined]


async def start_protocol(options: EchoOptions) -> Serving:
    """Serve with an asyncio.Protocol."""
    loop = asyncio.get_running_loop()
    return serving(await loop.create_server(EchoProtocol, HOST, 0, backlog=BACKLOG))


async def start_unix(options: EchoOptions) -> Serving:
    """Serve with an asyncio.Protocol on a Unix socket."""
    name = f"bench-{os.getpid()}"
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(EchoProtocol, f"\0{name}", backlog=BACKLOG)
    return Serving(0, server, f"@{name}")


async def start_buffered(options: EchoOptions) -> Serving:
    """Serve with an asyncio.BufferedProtocol."""
    loop = asyncio.get_running_loop()
    return serving(
        await loop.create_server(
            lambda: BufferedEchoProtocol(options.buffer_bytes), HOST, 0, backlog=BACKLOG
        )
    )


async def start_tls(options: EchoOptions) -> Serving:
    """Serve an asyncio.Protocol over TLS 1.3, leaving the authority in ``options.ca_file``."""
    loop = asyncio.get_running_loop()
    context = self_made_context(options.ca_file)
    return serving(
        await loop.create_server(EchoProtocol, HOST, 0, backlog=BACKLOG, ssl=context)
    )


def self_made_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS 1.3 server context for ``localhost`` with a certificate made just now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    issue_certificate(ca_file).configure_cert(context)
    return context


Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


async def start_streams(options: EchoOptions, exchange: Exchange) -> Serving:
    """Serve with asyncio streams; ``exchange`` echoes once and returns False at the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await exchange(reader, writer):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    limit = max(2 * options.size_bytes, BUFFER_BYTES)
    return serving(await asyncio.start_server(serve, HOST, 0, backlog=BACKLOG, limit=limit))


async def start_readline(options: EchoOptions) -> Serving:
    """Serve with StreamReader.readline."""

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = await reader.readline()
        writer.write(line)
        await writer.drain()
        return bool(line)

    return await start_streams(options, exchange)


async def start_readexactly(options: EchoOptions) -> Serving:
    """Serve with StreamReader.readexactly of one message."""

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            message = await reader.readexactly(options.size_bytes)
        except asyncio.IncompleteReadError:
            return False
        writer.write(message)
        await writer.drain()
        return True

    return await start_streams(options, exchange)


async def start_read(options: EchoOptions) -> Serving:
    """Serve with StreamReader.read of whatever is there."""

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        data = await reader.read(options.buffer_bytes)
        writer.write(data)
        await writer.drain()
        return bool(data)

    return await start_streams(options, exchange)


async def start_sock(options: EchoOptions) -> Serving:
    """Serve with sock_accept, sock_recv and sock_sendall: no transport at all."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while data := await loop.sock_recv(connection, options.buffer_bytes):
                    await loop.sock_sendall(connection, data)
            except ConnectionError:
                pass

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            task = loop.create_task(serve(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    listener.setblocking(False)
    tasks.add(loop.create_task(accept()))
    return Serving(listener.getsockname()[1], tasks)


Starter = Callable[[EchoOptions], Awaitable[Serving]]

STARTERS: dict[str, Starter] = {
    "protocol": start_protocol,
    "buffered": start_buffered,
    "streams": start_readline,
    "streams-readexactly": start_readexactly,
    "streams-read": start_read,
    "sock": start_sock,
    "tls": start_tls,
    "unix": start_unix,
}
