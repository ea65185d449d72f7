"""start_tls in every combination of what is below, who serves, and how the protocol takes data.

Owns: TCP, Unix sockets and TLS below; both sides; after data and at once; either first to speak.
Thread: the test's own.
Must not: repeat the failures, which are in test_start_tls.py.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support import certs
from tests.support.net import finish, run, tcp_pair
from tests.support.payload import digest, pattern
from tests.support.recorders import BufferedRecorder, Recorder, RecordingProtocol

Loop = asyncio.AbstractEventLoop
Factory = type[RecordingProtocol]

DATA = pattern(600_000)


@contextlib.asynccontextmanager
async def joined(
    loop: Any, below: str, near: Factory, far: Factory
) -> AsyncIterator[tuple[Any, Any]]:
    """(client, server) over a pair of sockets; with TLS already if `below` says so."""
    ours, theirs = socket.socketpair() if below == "unix" else tcp_pair()
    client_tls: dict[str, Any] = {}
    server_tls: dict[str, Any] = {}
    if below == "tls":
        client_tls = {"ssl": certs.client_context(), "server_hostname": certs.HOSTNAME}
        server_tls = {"ssl": certs.server_context()}
    (_, client), (_, server) = await asyncio.gather(
        loop.create_connection(near, sock=ours, **client_tls),
        loop.connect_accepted_socket(far, theirs, **server_tls),
    )
    try:
        yield client, server
    finally:
        await finish(client, server)


async def upgrade(loop: Loop, protocol: RecordingProtocol, *, server_side: bool) -> None:
    context = certs.server_context() if server_side else certs.client_context()
    name = None if server_side else certs.HOSTNAME
    protocol.transport = await loop.start_tls(
        protocol.transport, protocol, context, server_side=server_side, server_hostname=name
    )


async def exchange(protocol: RecordingProtocol, data: bytes) -> None:
    protocol.transport.write(data)
    assert digest(await protocol.read(len(data))) == digest(data)


@pytest.mark.parametrize("below", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("near", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("far", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("plain", [b"", b"STARTTLS", DATA], ids=["at once", "word", "data"])
@pytest.mark.parametrize("closing", ["client", "server"])
def test_upgrade(
    loop: Loop, below: str, near: Factory, far: Factory, plain: bytes, closing: str
) -> None:
    async def main() -> None:
        async with joined(loop, below, near, far) as (client, server):
            await asyncio.gather(exchange(client, plain), exchange(server, plain))
            await asyncio.gather(
                upgrade(loop, client, server_side=False), upgrade(loop, server, server_side=True)
            )
            await asyncio.gather(exchange(client, DATA), exchange(server, DATA))
            first = client if closing == "client" else server
            first.transport.write(DATA)
            first.transport.close()
            other = server if first is client else client
            assert digest(await other.read(len(DATA))) == digest(DATA)
            assert await first.lost is None
            assert await other.lost is None
            for protocol in (client, server):
                assert protocol.calls.count("connection_made") == 1
                assert protocol.calls.count("connection_lost") == 1

    run(loop, main())


def test_twice_over_a_unix_socket(loop: Loop) -> None:
    """Plain, then TLS, then TLS inside it, by start_tls alone."""

    async def main() -> None:
        async with joined(loop, "unix", Recorder, Recorder) as (client, server):
            for _ in range(2):
                await asyncio.gather(exchange(client, b"word"), exchange(server, b"word"))
                await asyncio.gather(
                    upgrade(loop, client, server_side=False),
                    upgrade(loop, server, server_side=True),
                )
            await asyncio.gather(exchange(client, DATA), exchange(server, DATA))

    run(loop, main())


def test_the_server_of_the_connection_is_the_client_of_tls(loop: Loop) -> None:
    async def main() -> None:
        async with joined(loop, "tcp", Recorder, Recorder) as (client, server):
            await asyncio.gather(
                upgrade(loop, client, server_side=True), upgrade(loop, server, server_side=False)
            )
            await asyncio.gather(exchange(client, DATA), exchange(server, DATA))

    run(loop, main())


def test_while_reading_is_paused(loop: Loop) -> None:
    """The upgrade reads what it needs; a pause that came before it is over."""

    async def main() -> None:
        async with joined(loop, "tcp", Recorder, Recorder) as (client, server):
            client.transport.pause_reading()
            server.transport.pause_reading()
            await asyncio.gather(
                upgrade(loop, client, server_side=False), upgrade(loop, server, server_side=True)
            )
            await asyncio.gather(exchange(client, DATA), exchange(server, DATA))

    run(loop, main())
