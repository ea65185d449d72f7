"""aiohttp's server on both loops, asked by clients that are not asyncio's.

Owns: AppRunner with TCPSite and UnixSite, keep-alive, chunked bodies, uploads, static files.
Thread: the server runs on the test's thread, the clients (http.client, sockets) in worker threads.
Must not: use aiohttp's own client, except for what http.client cannot do (WebSockets are in
test_aiohttp_websockets.py).
"""

import asyncio
import hashlib
import http.client
import os
import pathlib
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from tests.support import certs
from tests.support.net import TIMEOUT_S, run
from tests.support.payload import MIB, digest, pattern
from tests.support.web import serving_app

T = TypeVar("T")
LARGE_BYTES = 100 * MIB


def connection(base: str, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    address = urlsplit(base)
    assert address.port is not None
    if context is not None:
        return http.client.HTTPSConnection("localhost", address.port, context=context)
    return http.client.HTTPConnection("127.0.0.1", address.port, timeout=TIMEOUT_S)


async def with_client(
    base: str, work: Callable[[http.client.HTTPConnection], T], **options: Any
) -> T:
    """Run `work` in a thread with a connection to `base`, closed afterwards."""

    def body() -> T:
        client = connection(base, **options)
        try:
            return work(client)
        finally:
            client.close()

    return await asyncio.to_thread(body)


def ask(client: http.client.HTTPConnection, path: str, **options: Any) -> tuple[int, bytes]:
    client.request(options.pop("method", "GET"), path, **options)
    response = client.getresponse()
    return response.status, response.read()


def test_keep_alive(loop: asyncio.AbstractEventLoop) -> None:
    def work(client: http.client.HTTPConnection) -> None:
        peers = set()
        for _ in range(200):
            assert ask(client, "/hello") == (200, b"hello")
            peers.add(ask(client, "/peer")[1])
        assert len(peers) == 1
        client.request("GET", "/hello", headers={"Connection": "close"})
        response = client.getresponse()
        assert response.read() == b"hello"
        assert response.getheader("Connection") == "close"

    async def main() -> None:
        async with serving_app() as base:
            await with_client(base, work)

    run(loop, main())


def test_statuses(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    def work(client: http.client.HTTPConnection) -> None:
        assert ask(client, "/nothing")[0] == 404
        assert ask(client, "/hello", method="DELETE")[0] == 405
        assert ask(client, "/hello", method="HEAD") == (200, b"")
        assert ask(client, "/fail")[0] == 500
        assert ask(client, "/hello") == (200, b"hello")

    async def main() -> None:
        async with serving_app() as base:
            await with_client(base, work)

    run(loop, main())


def test_pipelined_requests(loop: asyncio.AbstractEventLoop) -> None:
    """Many requests in one write: as many answers, in order."""

    def work(base: str) -> bytes:
        address = ("127.0.0.1", urlsplit(base).port)
        with socket.create_connection(address, timeout=TIMEOUT_S) as sock:
            requests = [
                b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n%04d" % number
                for number in range(100)
            ]
            requests.append(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            sock.sendall(b"".join(requests))
            got = bytearray()
            while data := sock.recv(65_536):
                got += data
            return bytes(got)

    async def main() -> None:
        async with serving_app() as base:
            got = await asyncio.to_thread(work, base)
        bodies = [part.split(b"\r\n\r\n", 1)[1] for part in got.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"%04d" % number for number in range(100)] + [b"hello"]

    run(loop, main())


def test_a_request_in_single_bytes(loop: asyncio.AbstractEventLoop) -> None:
    def work(base: str) -> bytes:
        with socket.create_connection(("127.0.0.1", urlsplit(base).port or 0), 20) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
                sock.send(bytes([byte]))
            got = bytearray()
            while data := sock.recv(65_536):
                got += data
            return bytes(got)

    async def main() -> None:
        async with serving_app() as base:
            assert (await asyncio.to_thread(work, base)).endswith(b"\r\n\r\nhello")

    run(loop, main())


def test_chunked_both_ways(loop: asyncio.AbstractEventLoop) -> None:
    pieces = [pattern(1 + number * 977) for number in range(100)]

    def work(client: http.client.HTTPConnection) -> None:
        status, body = ask(
            client, "/echo", method="POST", body=iter(pieces), encode_chunked=True
        )
        assert status == 200
        assert digest(body) == digest(b"".join(pieces))
        client.request("GET", "/download?size=3000000")
        response = client.getresponse()
        assert response.getheader("Transfer-Encoding") == "chunked"
        assert digest(response.read()) == digest(pattern(3_000_000))

    async def main() -> None:
        async with serving_app() as base:
            await with_client(base, work)

    run(loop, main())


@pytest.mark.time_limit(120)
@pytest.mark.parametrize("encoding", ["length", "chunked"])
def test_an_upload_of_100_megabytes(loop: asyncio.AbstractEventLoop, encoding: str) -> None:
    data = pattern(LARGE_BYTES)

    def work(client: http.client.HTTPConnection) -> bytes:
        options: dict[str, Any] = {"body": data}
        if encoding == "chunked":
            chunks: Iterator[bytes] = (
                data[start : start + 1_000_000] for start in range(0, len(data), 1_000_000)
            )
            options = {"body": chunks, "encode_chunked": True}
        status, body = ask(client, "/upload", method="POST", **options)
        assert status == 200
        return body

    async def main() -> None:
        async with serving_app() as base:
            body = await with_client(base, work)
        expected = '{"size": %d, "sha256": "%s"}' % (LARGE_BYTES, digest(data))
        assert body == expected.encode()

    run(loop, main(), timeout_s=100)


def test_a_download_with_a_slow_reader(loop: asyncio.AbstractEventLoop) -> None:
    """Back-pressure: the handler's writes wait, and all arrives."""

    def work(client: http.client.HTTPConnection) -> None:
        client.request("GET", "/download?size=20000000&length")
        response = client.getresponse()
        sha, total_bytes = hashlib.sha256(), 0
        while data := response.read(7919):
            sha.update(data)
            total_bytes += len(data)
        assert total_bytes == 20_000_000
        assert sha.hexdigest() == digest(pattern(20_000_000))

    async def main() -> None:
        async with serving_app() as base:
            await with_client(base, work)

    run(loop, main())


def test_a_client_that_leaves_cancels_its_handler(loop: asyncio.AbstractEventLoop) -> None:
    def work(client: http.client.HTTPConnection) -> None:
        client.request("GET", "/stall")
        response = client.getresponse()
        assert response.read(9) == b"beginning"
        response.close()

    async def main() -> None:
        async with serving_app() as base:
            await with_client(base, work)
            await with_client(base, lambda client: ask(client, "/hello"))
            while len(asyncio.all_tasks()) > 2:  # this one, and wait_for's around it
                await asyncio.sleep(0)

    run(loop, main())


def test_static_files(loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path) -> None:
    """FileResponse sends through loop.sendfile where there is no TLS."""
    data = pattern(8 * MIB + 5)
    (tmp_path / "large.bin").write_bytes(data)
    (tmp_path / "empty.txt").write_bytes(b"")

    def work(client: http.client.HTTPConnection) -> None:
        for _ in range(3):
            status, body = ask(client, "/static/large.bin")
            assert status == 200
            assert digest(body) == digest(data)
        headers = {"Range": "bytes=1000-4000999"}
        status, body = ask(client, "/static/large.bin", headers=headers)
        assert status == 206
        assert digest(body) == digest(data[1000:4_001_000])
        assert ask(client, "/static/large.bin", method="HEAD") == (200, b"")
        assert ask(client, "/static/empty.txt") == (200, b"")
        assert ask(client, "/static/../secret")[0] in (403, 404)
        assert ask(client, "/hello") == (200, b"hello")

    async def main() -> None:
        async with serving_app(static=tmp_path) as base:
            await with_client(base, work)

    run(loop, main())


def test_tls(loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path) -> None:
    data = pattern(3 * MIB)
    (tmp_path / "file").write_bytes(data)

    def work(client: http.client.HTTPConnection) -> None:
        for _ in range(20):
            assert ask(client, "/hello") == (200, b"hello")
        status, body = ask(client, "/echo", method="POST", body=data)
        assert (status, digest(body)) == (200, digest(data))
        status, body = ask(client, "/static/file")
        assert (status, digest(body)) == (200, digest(data))

    async def main() -> None:
        context = certs.server_context()
        async with serving_app(static=tmp_path, ssl_context=context) as base:
            await with_client(base, work, context=certs.client_context())

    run(loop, main())


def test_a_unix_site(loop: asyncio.AbstractEventLoop) -> None:
    def work(path: str) -> None:
        client = http.client.HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(TIMEOUT_S)
        client.sock.connect(path)
        try:
            for _ in range(10):
                assert ask(client, "/hello") == (200, b"hello")
            data = pattern(2 * MIB)
            status, body = ask(client, "/echo", method="POST", body=data)
            assert (status, digest(body)) == (200, digest(data))
        finally:
            client.close()

    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder:
            path = os.path.join(folder, "socket")
            async with serving_app(path=path):
                await asyncio.to_thread(work, path)

    run(loop, main())


def test_a_hundred_connections(loop: asyncio.AbstractEventLoop) -> None:
    def work(base: str) -> None:
        clients = [connection(base) for _ in range(100)]
        try:
            for _ in range(3):
                for client in clients:
                    client.request("GET", "/hello")
                for client in clients:
                    assert client.getresponse().read() == b"hello"
        finally:
            for client in clients:
                client.close()

    async def main() -> None:
        async with serving_app() as base:
            await asyncio.to_thread(work, base)

    run(loop, main())
