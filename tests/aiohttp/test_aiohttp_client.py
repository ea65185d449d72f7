"""aiohttp's client on both loops, against aiohttp's server on the same loop.

Owns: ClientSession with its pool, TLS, timeouts, cancellation, redirects, streamed bodies.
Thread: the test's own.
Must not: leave a session or a connection open.
"""

import asyncio
import hashlib
import io
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support import certs
from tests.support.net import Peer, full_listener, listen, run, unused_port
from tests.support.payload import MIB, digest, pattern
from tests.support.web import serving_app


async def text(session: aiohttp.ClientSession, url: str, **options: Any) -> str:
    async with session.get(url, **options) as response:
        assert response.status == 200
        return await response.text()


def test_the_pool_uses_a_connection_again(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            peers = {await text(session, f"{base}/peer") for _ in range(50)}
            assert len(peers) == 1
            many = await asyncio.gather(*(text(session, f"{base}/peer") for _ in range(50)))
            assert len(set(many)) > 1

    run(loop, main())


def test_the_pool_keeps_its_limit(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=3)
        async with serving_app() as base, aiohttp.ClientSession(connector=connector) as session:
            peers = await asyncio.gather(*(text(session, f"{base}/peer") for _ in range(60)))
            assert len(set(peers)) <= 3

    run(loop, main())


def test_without_keep_alive(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        connector = aiohttp.TCPConnector(force_close=True)
        async with serving_app() as base, aiohttp.ClientSession(connector=connector) as session:
            peers = [await text(session, f"{base}/peer") for _ in range(20)]
            assert len(set(peers)) == 20

    run(loop, main())


def test_a_pooled_connection_that_the_server_closed(loop: asyncio.AbstractEventLoop) -> None:
    """The next request notices and opens another one."""

    async def main() -> None:
        with listen() as listener:
            url = "http://127.0.0.1:%d/" % listener.getsockname()[1]

            async def answer() -> None:
                sock, _ = await asyncio.to_thread(listener.accept)
                peer = Peer(sock)
                assert await peer.recv()
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                peer.close()

            async with aiohttp.ClientSession() as session:
                for _ in range(5):
                    answering = asyncio.ensure_future(answer())
                    assert await text(session, url) == "ok"
                    await answering

    run(loop, main())


def test_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(3 * MIB)
        async with serving_app(ssl_context=certs.server_context()) as base:
            connector = aiohttp.TCPConnector(ssl=certs.client_context())
            async with aiohttp.ClientSession(connector=connector) as session:
                for _ in range(10):
                    assert await text(session, f"{base}/hello") == "hello"
                async with session.post(f"{base}/echo", data=io.BytesIO(data)) as response:
                    assert digest(await response.read()) == digest(data)

    run(loop, main())


def test_tls_that_is_not_trusted(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        context = certs.server_context(issuer=certs.strange_authority())
        async with serving_app(ssl_context=context) as base:
            connector = aiohttp.TCPConnector(ssl=certs.client_context())
            async with aiohttp.ClientSession(connector=connector) as session:
                with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
                    await text(session, f"{base}/hello")
                assert isinstance(caught.value.certificate_error, ssl.SSLCertVerificationError)

    run(loop, main())


def test_a_total_timeout(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            with pytest.raises(asyncio.TimeoutError):
                await text(session, f"{base}/never", timeout=aiohttp.ClientTimeout(total=0.05))
            assert await text(session, f"{base}/hello") == "hello"

    run(loop, main())


def test_a_timeout_of_reading(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            timeout = aiohttp.ClientTimeout(sock_read=0.05)
            async with session.get(f"{base}/stall", timeout=timeout) as response:
                assert await response.content.readexactly(9) == b"beginning"
                with pytest.raises(aiohttp.ServerTimeoutError):
                    await response.content.read()

    run(loop, main())


def test_a_timeout_of_connecting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with full_listener("127.0.0.2") as (host, port):
            timeout = aiohttp.ClientTimeout(sock_connect=0.05)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                with pytest.raises(aiohttp.ServerTimeoutError):
                    await text(session, f"http://{host}:{port}/")

    run(loop, main())


@pytest.mark.parametrize("path", ["/never", "/stall"])
def test_cancellation(loop: asyncio.AbstractEventLoop, path: str) -> None:
    """A cancelled request takes its connection with it; the session goes on."""

    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            for _ in range(10):
                task = asyncio.ensure_future(text(session, base + path))
                assert await text(session, f"{base}/hello") == "hello"
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await text(session, f"{base}/hello") == "hello"

    run(loop, main())


def test_cancellation_while_connecting(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with full_listener("127.0.0.2") as (host, port):
            async with aiohttp.ClientSession() as session:
                task = asyncio.ensure_future(text(session, f"http://{host}:{port}/"))
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(asyncio.shield(task), 0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(loop, main())


def test_redirects(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.get(f"{base}/redirect/5") as response:
                assert await response.text() == "hello"
                assert len(response.history) == 6
            async with session.get(f"{base}/redirect/5", allow_redirects=False) as response:
                assert response.status == 302
            with pytest.raises(aiohttp.TooManyRedirects):
                await text(session, f"{base}/redirect/20")

    run(loop, main())


@pytest.mark.parametrize("query", ["", "&length"])
def test_a_streamed_download(loop: asyncio.AbstractEventLoop, query: str) -> None:
    async def main() -> None:
        size_bytes = 50 * MIB
        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.get(f"{base}/download?size={size_bytes}{query}") as response:
                sha, total_bytes = hashlib.sha256(), 0
                async for chunk in response.content.iter_chunked(65_536):
                    sha.update(chunk)
                    total_bytes += len(chunk)
            assert total_bytes == size_bytes
            assert sha.hexdigest() == digest(pattern(size_bytes))

    run(loop, main(), timeout_s=50)


def test_a_streamed_upload(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        data = pattern(20 * MIB)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 300_000):
                yield data[start : start + 300_000]

        async with serving_app() as base, aiohttp.ClientSession() as session:
            async with session.post(f"{base}/upload", data=pieces()) as response:
                answer = await response.json()
        assert answer == {"size": len(data), "sha256": digest(data)}

    run(loop, main())


def test_a_download_that_nobody_finishes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with serving_app() as base, aiohttp.ClientSession() as session:
            for _ in range(5):
                async with session.get(f"{base}/download?size=20000000") as response:
                    assert len(await response.content.readexactly(1000)) == 1000
            assert await text(session, f"{base}/hello") == "hello"

    run(loop, main())


def test_a_server_that_is_not_there(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await text(session, f"http://127.0.0.1:{unused_port()}/")
            assert isinstance(caught.value.os_error, ConnectionRefusedError)

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_server_that_hangs_up(loop: asyncio.AbstractEventLoop, ending: str) -> None:
    async def main() -> None:
        with listen() as listener:

            async def hang_up() -> None:
                sock, _ = await asyncio.to_thread(listener.accept)
                peer = Peer(sock)
                assert await peer.recv()
                getattr(peer, ending)()

            async with aiohttp.ClientSession() as session:
                hanging_up = asyncio.ensure_future(hang_up())
                with pytest.raises(aiohttp.ClientConnectionError):
                    # Not a GET: aiohttp repeats those once.
                    await session.post(f"http://127.0.0.1:{listener.getsockname()[1]}/")
                await hanging_up

    run(loop, main())


def test_over_a_unix_path(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder:
            path = os.path.join(folder, "socket")
            connector = aiohttp.UnixConnector(path)
            async with serving_app(path=path) as base:
                async with aiohttp.ClientSession(connector=connector) as session:
                    for _ in range(5):
                        assert await text(session, f"{base}/hello") == "hello"

    run(loop, main())
