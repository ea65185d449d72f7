"""loop.start_tls and StreamWriter.start_tls: a connection that turns to TLS halfway.

Owns: both sides, what is buffered at that moment, failures, TLS inside TLS.
Thread: the test's own.
Must not: use the old transport after the upgrade.
"""

import asyncio
import ssl
from typing import Any

import pytest

from tests.support import certs
from tests.support.net import Peer, capture_errors, connected, run, tcp_pair, turns, with_peer
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import BufferedRecorder, Recorder, RecordingProtocol


async def upgrade(
    client: RecordingProtocol, server: RecordingProtocol, **options: Any
) -> tuple[Any, Any]:
    """Turn both ends to TLS, keeping their protocols: (client's transport, server's)."""
    loop = asyncio.get_running_loop()
    near, far = await asyncio.gather(
        loop.start_tls(
            client.transport,
            client,
            certs.client_context(),
            server_hostname=certs.HOSTNAME,
            **options,
        ),
        loop.start_tls(
            server.transport, server, certs.server_context(), server_side=True, **options
        ),
    )
    client.transport, server.transport = near, far
    return near, far


@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_plain_first_then_tls(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    async def main() -> None:
        data = pattern(3 * MIB)
        async with connected(factory, factory) as (client, server):
            client.transport.write(b"STARTTLS")
            assert await server.read(8) == b"STARTTLS"
            server.transport.write(b"OK")
            assert await client.read(2) == b"OK"
            plain = client.transport
            near, far = await upgrade(client, server)
            assert near is not plain
            assert isinstance(near, asyncio.Transport)
            assert near.get_extra_info("ssl_object") is not None
            assert near.get_extra_info("peername") == far.get_extra_info("sockname")
            near.write(data)
            far.write(data)
            assert digest(await server.read(len(data))) == digest(data)
            assert digest(await client.read(len(data))) == digest(data)
            assert client.calls.count("connection_made") == 1
            near.close()
            assert await client.lost is None
            assert await server.lost is None

    run(loop, main())


def test_the_first_bytes_of_tls_come_with_the_last_plain_ones(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The server's protocol pauses where the plain part ends; the rest is left to TLS."""

    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        dialled, accepted = tcp_pair()
        context = certs.client_context()

        def handshake() -> ssl.SSLSocket:
            return context.wrap_socket(dialled, server_hostname=certs.HOSTNAME)

        _, server = await loop.connect_accepted_socket(Upgrading, accepted)
        dialled.sendall(b"STARTTLS")
        assert await server.read(8) == b"STARTTLS"
        shaking = asyncio.ensure_future(asyncio.to_thread(handshake))
        await turns(20)  # the client's first message has come while reading is paused
        successor = Recorder()
        successor.transport = await loop.start_tls(
            server.transport, successor, certs.server_context(), server_side=True
        )
        wrapped = await shaking
        await asyncio.to_thread(wrapped.sendall, b"secret")
        assert await successor.read(6) == b"secret"
        assert not server.buffer
        successor.transport.abort()
        await successor.lost
        wrapped.close()

    run(loop, main())


def test_pending_plain_data_goes_out_first(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(300_000)
        async with connected(Recorder, Recorder) as (client, server):
            client.transport.write(data)
            await server.received(len(data))
            await upgrade(client, server)
            client.transport.write(b"secret")
            assert await server.read(len(data)) == data
            assert await server.read(6) == b"secret"

    run(loop, main())


def test_over_streams(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.start_tls(certs.server_context())
        async for line in reader:
            writer.write(line.upper())
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"plain\n")
        assert await reader.readline() == b"PLAIN\n"
        await writer.start_tls(certs.client_context(), server_hostname=certs.HOSTNAME)
        assert writer.get_extra_info("ssl_object") is not None
        for number in range(20):
            writer.write(b"secret %d\n" % number)
            await writer.drain()
            assert await reader.readline() == b"SECRET %d\n" % number
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_tls_inside_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(MIB)
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            await upgrade(client, server)
            client.transport.write(data)
            server.transport.write(data)
            assert digest(await server.read(len(data))) == digest(data)
            assert digest(await client.read(len(data))) == digest(data)

    run(loop, main())


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_handshake_that_fails(loop: asyncio.AbstractEventLoop, side: str) -> None:
    """The caller gets the error, the transport is closed."""

    async def main() -> None:
        capture_errors(loop)
        async with with_peer(Recorder) as (protocol, peer):
            plain = protocol.transport
            is_server = side == "server"
            context = certs.server_context() if is_server else certs.client_context()
            name = None if is_server else certs.HOSTNAME
            upgrading = asyncio.ensure_future(
                loop.start_tls(
                    plain, protocol, context, server_side=is_server, server_hostname=name
                )
            )
            await peer.send(b"this is no handshake\r\n")
            with pytest.raises(ssl.SSLError):
                await upgrading
            assert plain.is_closing()
            if not protocol.lost.done():  # asyncio leaves the protocol without a last word
                protocol.lost.set_result(None)
            await turns()

    run(loop, main())


def test_a_handshake_that_takes_too_long(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        async with with_peer(Recorder) as (protocol, _peer):
            plain = protocol.transport
            with pytest.raises(ConnectionAbortedError):
                await loop.start_tls(
                    plain,
                    protocol,
                    certs.client_context(),
                    server_hostname=certs.HOSTNAME,
                    ssl_handshake_timeout=0.05,
                )
            assert plain.is_closing()
            if not protocol.lost.done():
                protocol.lost.set_result(None)
            await turns()

    run(loop, main())


def test_cancelled_in_the_handshake(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        async with with_peer(Recorder) as (protocol, peer):
            plain = protocol.transport
            task = asyncio.ensure_future(
                loop.start_tls(
                    plain, protocol, certs.client_context(), server_hostname=certs.HOSTNAME
                )
            )
            assert await peer.recv()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert plain.is_closing()
            if not protocol.lost.done():
                protocol.lost.set_result(None)
            await turns()

    run(loop, main())


def test_a_peer_that_vanishes_in_the_handshake(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        dialled, accepted = tcp_pair()
        peer = Peer(accepted)
        _, protocol = await loop.create_connection(Recorder, sock=dialled)
        task = asyncio.ensure_future(
            loop.start_tls(
                protocol.transport,
                protocol,
                certs.client_context(),
                server_hostname=certs.HOSTNAME,
            )
        )
        assert await peer.recv()
        peer.reset()
        with pytest.raises(ConnectionError):
            await task
        await turns()

    run(loop, main())


def test_arguments_that_make_no_sense(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            for wrong in (None, True, object()):
                with pytest.raises(TypeError, match="SSLContext"):
                    await loop.start_tls(protocol.transport, protocol, wrong)  # type: ignore
            with pytest.raises(TypeError, match="not supported by start_tls"):
                await loop.start_tls(
                    asyncio.Transport(), protocol, certs.client_context()
                )
            protocol.transport.write(b"unharmed")
            assert await _peer.recv_exactly(8) == b"unharmed"

    run(loop, main())
