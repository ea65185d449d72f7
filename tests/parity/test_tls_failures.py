"""TLS that fails: certificates, silence, garbage, peers that vanish.

Owns: the errors that both sides see, the timeouts, and that the server goes on serving.
Thread: the test's own; hostile peers block in worker threads.
Must not: leave a connection open when a handshake has failed.
"""

import asyncio
import socket
import ssl
from typing import Any

import pytest

from tests.support import certs
from tests.support.net import Peer, capture_errors, connected, listen, run, serving, tcp_pair, turns
from tests.support.recorders import Echo, Recorder


async def dial(address: tuple[str, int], context: Any, **options: Any) -> Recorder:
    loop = asyncio.get_running_loop()
    options.setdefault("server_hostname", certs.HOSTNAME)
    _, client = await loop.create_connection(Recorder, *address, ssl=context, **options)
    return client


async def check_still_serving(address: tuple[str, int]) -> None:
    """A good client is served after a bad one."""
    client = await dial(address, certs.client_context())
    client.transport.write(b"hello")
    assert await client.read(5) == b"hello"
    client.transport.close()
    assert await client.lost is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_authority_that_is_not_trusted(
    loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion
) -> None:
    async def main() -> None:
        capture_errors(loop)
        context = certs.server_context(issuer=certs.strange_authority(), version=version)
        async with serving(Echo, ssl=context) as served:
            for _ in range(3):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await dial(served.address, certs.client_context())

    run(loop, main())


def test_the_default_context_does_not_trust_us(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        async with serving(Echo, ssl=certs.server_context()) as served:
            with pytest.raises(ssl.SSLCertVerificationError):
                await dial(served.address, True)
            await check_still_serving(served.address)

    run(loop, main())


def test_another_host_name(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        async with serving(Echo, ssl=certs.server_context("other.test")) as served:
            with pytest.raises(ssl.SSLCertVerificationError, match="(?i)hostname"):
                await dial(served.address, certs.client_context())
            client = await dial(
                served.address, certs.client_context(), server_hostname="other.test"
            )
            client.transport.close()
            await client.lost

    run(loop, main())


def test_the_host_is_the_default_server_name(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving(Echo, ssl=certs.server_context()) as served:
            _, client = await loop.create_connection(
                Recorder, *served.address, ssl=certs.client_context()
            )
            client.transport.close()
            await client.lost

    run(loop, main())


def test_an_empty_server_name_skips_the_check(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        context = certs.client_context()
        context.check_hostname = False
        async with serving(Echo, ssl=certs.server_context("other.test")) as served:
            client = await dial(served.address, context, server_hostname="")
            client.transport.close()
            await client.lost

    run(loop, main())


def test_a_client_certificate_that_is_missing(loop: asyncio.AbstractEventLoop) -> None:
    """With TLS 1.2 the handshake fails, with 1.3 the first exchange does."""

    async def main() -> None:
        capture_errors(loop)
        context = certs.server_context(
            ask_client=ssl.CERT_REQUIRED, version=ssl.TLSVersion.TLSv1_2
        )
        async with serving(Echo, ssl=context) as served:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await dial(served.address, certs.client_context())

    run(loop, main())


def test_a_client_that_sends_garbage(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        made: list[Echo] = []

        class Watched(Echo):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                made.append(self)

        async with serving(Watched, ssl=certs.server_context()) as served:
            peer = Peer(socket.create_connection(served.address))
            await peer.send(b"GET / HTTP/1.0\r\n\r\n")
            try:
                while await peer.recv():
                    pass
            except ConnectionResetError:
                pass
            peer.close()
            await check_still_serving(served.address)
            assert len(made) == 1  # only the good one

    run(loop, main())


def test_a_server_that_speaks_no_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        with listen() as listener:

            async def answer() -> None:
                sock, _ = await asyncio.to_thread(listener.accept)
                peer = Peer(sock)
                await peer.recv()
                await peer.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                peer.close()

            answering = asyncio.ensure_future(answer())
            with pytest.raises(ssl.SSLError):
                await dial(listener.getsockname(), certs.client_context())
            await answering

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_peer_that_vanishes_in_the_handshake(
    loop: asyncio.AbstractEventLoop, ending: str
) -> None:
    async def main() -> None:
        capture_errors(loop)
        dialled, accepted = tcp_pair()
        peer = Peer(accepted)
        connecting = asyncio.ensure_future(
            loop.create_connection(
                Recorder,
                sock=dialled,
                ssl=certs.client_context(),
                server_hostname=certs.HOSTNAME,
            )
        )
        assert await peer.recv()
        getattr(peer, ending)()
        with pytest.raises(ConnectionError):
            await connecting

    run(loop, main())


def test_a_client_that_vanishes_in_the_handshake(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        async with serving(Echo, ssl=certs.server_context()) as served:
            for ending in ("close", "reset"):
                peer = Peer(socket.create_connection(served.address))
                await peer.send(b"\x16\x03\x01")
                getattr(peer, ending)()
            await check_still_serving(served.address)

    run(loop, main())


def test_a_silent_server(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        with listen() as listener:
            with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
                await dial(
                    listener.getsockname(), certs.client_context(), ssl_handshake_timeout=0.05
                )

    run(loop, main())


def test_a_silent_client(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        capture_errors(loop)
        context = certs.server_context()
        async with serving(Echo, ssl=context, ssl_handshake_timeout=0.05) as served:
            peer = Peer(socket.create_connection(served.address))
            assert await peer.recv() == b""
            peer.close()

    run(loop, main())


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("value", [0, -1])
def test_timeouts_must_be_positive(
    loop: asyncio.AbstractEventLoop, name: str, value: float
) -> None:
    async def main() -> None:
        dialled, accepted = tcp_pair()
        options: dict[str, Any] = {name: value, "server_hostname": certs.HOSTNAME}
        with accepted, dialled:
            with pytest.raises(ValueError, match="should be a positive number"):
                await loop.create_connection(
                    Recorder, sock=dialled, ssl=certs.client_context(), **options
                )

    run(loop, main())


def test_a_peer_that_never_answers_the_closing(loop: asyncio.AbstractEventLoop) -> None:
    """connection_lost comes when the shutdown timeout is over."""

    async def main() -> None:
        capture_errors(loop)
        dialled, accepted = tcp_pair()
        context = certs.server_context()

        def handshake() -> ssl.SSLSocket:
            return context.wrap_socket(accepted, server_side=True)

        shaking = asyncio.ensure_future(asyncio.to_thread(handshake))
        _, client = await loop.create_connection(
            Recorder,
            sock=dialled,
            ssl=certs.client_context(),
            server_hostname=certs.HOSTNAME,
            ssl_shutdown_timeout=0.1,
        )
        wrapped = await shaking
        client.transport.close()
        await turns()
        assert not client.lost.done()
        assert isinstance(await client.lost, TimeoutError)
        wrapped.close()

    run(loop, main())


def test_the_end_without_a_closing_message(loop: asyncio.AbstractEventLoop) -> None:
    """A peer that ends TCP without ending TLS: the protocol is told, nothing is left."""

    async def main() -> None:
        capture_errors(loop)
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            client.transport.write(b"x")
            await server.read(1)
            client.transport.abort()
            await server.lost
            assert server.calls[-1] == "connection_lost"

    run(loop, main())


def test_cancelled_in_the_handshake(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with listen() as listener:
            task = asyncio.ensure_future(dial(listener.getsockname(), certs.client_context()))
            accepted, _ = await asyncio.to_thread(listener.accept)
            peer = Peer(accepted)
            assert await peer.recv()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            peer.close()
            await turns(20)

    run(loop, main())
