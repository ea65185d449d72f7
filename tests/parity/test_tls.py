"""TLS over the loop's transports: data both ways, what is known of the session, closing.

Owns: connections whose handshake succeeds; failures are in test_tls_failures.py, upgrades in
test_start_tls.py.
Thread: the test's own; where the peer is the ssl module's blocking socket it has a thread.
Must not: test the ssl module itself.
"""

import asyncio
import logging
import socket
import ssl
from typing import Any

import pytest

from tests.support import certs
from tests.support.net import connected, listen, only_on, run, serving, tcp_pair, turns
from tests.support.payload import MIB, digest, pattern
from tests.support.recorders import BufferedRecorder, Echo, Recorder, RecordingProtocol, Registry

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def tls(**server: Any) -> dict[str, Any]:
    """Options for `connected`: TLS with certificates that both sides accept."""
    return {
        "server_options": {"ssl": certs.server_context(**server)},
        "ssl": certs.client_context(),
        "server_hostname": certs.HOSTNAME,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_round_trip(loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        async with connected(Recorder, Echo, **tls(version=version)) as (client, server):
            client.transport.write(b"hello")
            client.transport.writelines([b" ", bytearray(b"wor"), memoryview(b"ld")])
            assert await client.read(11) == b"hello world"
            assert server.calls[:2] == ["connection_made", "data_received"]
            client.transport.close()
            assert await client.lost is None
            assert await server.lost is None
            assert server.calls[-2:] == ["eof_received", "connection_lost"]

    run(loop, main())


def test_the_transport_and_what_it_knows(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder, **tls()) as (client, server):
            for transport in (client.transport, server.transport):
                assert isinstance(transport, asyncio.Transport)
                assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
                assert isinstance(transport.get_extra_info("sslcontext"), ssl.SSLContext)
                assert transport.get_extra_info("cipher")[1] in ("TLSv1.3", "TLSv1.2")
                assert transport.get_extra_info("compression") is None
                assert transport.can_write_eof() is False
                assert transport.get_write_buffer_limits()[1] > 0
                assert transport.is_reading()
            assert dict(client.transport.get_extra_info("peercert"))["issuer"]
            near, far = client.transport, server.transport
            assert near.get_extra_info("peername") == far.get_extra_info("sockname")
            assert far.get_extra_info("peername") == near.get_extra_info("sockname")

    run(loop, main())


class Measuring(Recorder):
    """Notes how much comes at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.piece_bytes: list[int] = []

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.piece_bytes.append(len(data))


@only_on("loopx")
def test_much_comes_in_pieces_that_the_caches_hold(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio receives twice as much at a time."""

    async def main() -> None:
        async with connected(Recorder, Measuring, **tls()) as (client, server):
            client.transport.write(bytes(8 * MIB))
            await server.received(8 * MIB)
            once_known = server.piece_bytes[4:]          # to be bulk
            assert 100_000 < max(once_known) <= 131_072

    run(loop, main())


@pytest.mark.time_limit(60)
@pytest.mark.parametrize("factory", [Recorder, BufferedRecorder])
def test_twenty_megabytes_both_ways(
    loop: asyncio.AbstractEventLoop, factory: type[RecordingProtocol]
) -> None:
    async def main() -> None:
        up, down = pattern(20 * MIB), pattern(20 * MIB + 7)[7:]
        async with connected(factory, factory, **tls()) as (client, server):

            async def send(protocol: RecordingProtocol, data: bytes) -> None:
                for start in range(0, len(data), 300_000):
                    protocol.transport.write(data[start : start + 300_000])
                    await protocol.writable.wait()

            await asyncio.gather(
                send(client, up),
                send(server, down),
                client.received(len(down)),
                server.received(len(up)),
            )
            assert digest(server.buffer) == digest(up)
            assert digest(client.buffer) == digest(down)

    run(loop, main(), timeout_s=50)


def test_one_large_write(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(5 * MIB)
        async with connected(Recorder, Recorder, **tls()) as (client, server):
            client.transport.write(data)
            client.transport.close()
            await server.lost
            assert digest(server.buffer) == digest(data)
            assert await client.lost is None

    run(loop, main())


def test_a_client_of_a_blocking_server(loop: asyncio.AbstractEventLoop) -> None:
    def serve(listener: Any) -> bytes:
        sock, _ = listener.accept()
        with certs.server_context().wrap_socket(sock, server_side=True) as wrapped:
            got = bytearray()
            while len(got) < MIB:
                got += wrapped.recv(MIB)
            wrapped.sendall(got)
            wrapped.unwrap().close()
            return bytes(got)

    async def main() -> None:
        data = pattern(MIB)
        with listen() as listener:
            serving_task = asyncio.ensure_future(asyncio.to_thread(serve, listener))
            _, client = await loop.create_connection(
                Recorder,
                *listener.getsockname(),
                ssl=certs.client_context(),
                server_hostname=certs.HOSTNAME,
            )
            client.transport.write(data)
            assert digest(await client.read(MIB)) == digest(data)
            assert await client.lost is None
            assert await serving_task == data

    run(loop, main())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_a_blocking_client(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion
) -> None:
    data = pattern(MIB)

    def exchange(address: tuple[str, int]) -> None:
        with socket.create_connection(address, timeout=10) as sock:
            context = certs.client_context()
            with context.wrap_socket(sock, server_hostname=certs.HOSTNAME) as wrapped:
                wrapped.sendall(data)
                got = bytearray()
                while len(got) < len(data):
                    got += wrapped.recv(MIB)
                assert got == data
                wrapped.unwrap()

    async def main() -> None:
        registry = Registry()
        async with serving(registry, ssl=certs.server_context(version=version)) as served:
            await asyncio.gather(*(asyncio.to_thread(exchange, served.address) for _ in range(3)))
            for protocol in registry.protocols:
                assert await protocol.lost is None
        assert len(registry.protocols) == 3

    run(loop, main())


def test_streams(loop: asyncio.AbstractEventLoop) -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        context = certs.server_context()
        server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=context)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(),
            ssl=certs.client_context(),
            server_hostname=certs.HOSTNAME,
        )
        for number in range(100):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"LINE %d\n" % number
        assert not writer.can_write_eof()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_alpn_and_server_name(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        names: list[str | None] = []

        def choose(sock: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            names.append(name)

        server_context, client_context = certs.server_context(), certs.client_context()
        server_context.sni_callback = choose
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client_context.set_alpn_protocols(["http/1.1"])
        async with connected(
            Recorder,
            Recorder,
            server_options={"ssl": server_context},
            ssl=client_context,
            server_hostname=certs.HOSTNAME,
        ) as (client, server):
            for transport in (client.transport, server.transport):
                tls_object = transport.get_extra_info("ssl_object")
                assert tls_object.selected_alpn_protocol() == "http/1.1"
        assert names == [certs.HOSTNAME]

    run(loop, main())


def test_client_certificates(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(
            Recorder,
            Recorder,
            server_options={"ssl": certs.server_context(ask_client=ssl.CERT_REQUIRED)},
            ssl=certs.client_context(with_certificate=True),
            server_hostname=certs.HOSTNAME,
        ) as (client, server):
            client.transport.write(b"x")
            assert await server.read(1) == b"x"
            assert server.transport.get_extra_info("peercert")["subjectAltName"] == (
                ("email", "client@loopx.test"),
            )

    run(loop, main())


def test_accepted_sockets_and_connected_ones(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        dialled, accepted = tcp_pair()
        (_, server), (_, client) = await asyncio.gather(
            loop.connect_accepted_socket(Echo, accepted, ssl=certs.server_context()),
            loop.create_connection(
                Recorder,
                sock=dialled,
                ssl=certs.client_context(),
                server_hostname=certs.HOSTNAME,
            ),
        )
        client.transport.write(b"hello")
        assert await client.read(5) == b"hello"
        client.transport.close()
        assert await client.lost is None
        assert await server.lost is None

    run(loop, main())


def test_pause_and_resume_reading(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(16 * MIB)  # more than the kernel's buffers at both ends
        async with connected(Recorder, Recorder, **tls()) as (client, server):
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            client.transport.write(data)
            client.transport.write(data)
            await turns(50)
            assert server.received_bytes == 0
            assert client.paused.is_set()
            server.transport.resume_reading()
            assert server.transport.is_reading()
            await server.received(2 * len(data))
            await client.writable.wait()
            assert digest(server.buffer) == digest(data + data)

    run(loop, main())


def test_set_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Echo, **tls()) as (client, _server):
            second = BufferedRecorder()
            client.transport.set_protocol(second)
            assert client.transport.get_protocol() is second
            client.transport.write(b"to the second")
            assert await second.read(13) == b"to the second"
            client.transport.close()
            assert await second.lost is None
            client.lost.set_result(None)

    run(loop, main())


def test_writes_after_close_are_quiet(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder, **tls()) as (client, server):
            client.transport.write(b"last")
            client.transport.close()
            assert client.transport.is_closing()
            client.transport.write(b"too late")
            assert await server.lost is None
            assert bytes(server.buffer) == b"last"
            assert await client.lost is None
            client.transport.write(b"much too late")

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(loop, main())
    assert caplog.records == []


def test_abort(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder, **tls()) as (client, server):
            client.transport.write(b"x" * 16 * MIB)
            client.transport.abort()
            assert await client.lost is None
            await server.lost
            assert server.received_bytes < 16 * MIB

    run(loop, main())


def test_close_while_the_peer_goes_on_sending(loop: asyncio.AbstractEventLoop) -> None:
    """A close does not download: it ends at once, long before the shutdown timeout of 30 s."""

    async def main() -> None:
        dialled, accepted = tcp_pair()
        context = certs.server_context()

        def flood() -> None:
            with context.wrap_socket(accepted, server_side=True) as wrapped:
                try:
                    while True:
                        wrapped.sendall(b"x" * 65_536)
                except OSError:
                    pass

        flooding = asyncio.ensure_future(asyncio.to_thread(flood))
        _, client = await loop.create_connection(
            Recorder,
            sock=dialled,
            ssl=certs.client_context(),
            server_hostname=certs.HOSTNAME,
        )
        await client.received(100_000)
        received_bytes = client.received_bytes
        client.transport.close()
        async with asyncio.timeout(5.0):
            await client.lost
        assert client.received_bytes - received_bytes < 16 * MIB
        await flooding

    run(loop, main())
