"""httpx against hypercorn over TLS: HTTP/1.1 and HTTP/2, concurrent, timed out, cancelled.

Owns: a server and a client on one loop in each test.
Thread: the loop's own.
Must not: choose a port.
"""

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.certs import client_context, write_pem
from tests.support.net import listen, run
from tests.support.payload import MIB, digest, pattern

apps = pytest.importorskip("tests.ecosystem.apps")
httpx = pytest.importorskip("httpx")
pytest.importorskip("h2")
pytest.importorskip("hypercorn")
TIME_LIMIT_S = 40.0
VERSIONS = {False: "HTTP/1.1", True: "HTTP/2"}


@pytest.fixture(params=[False, True], ids=["http1", "http2"])
def http2(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@contextlib.asynccontextmanager
async def served(folder: pathlib.Path, http2: bool) -> AsyncIterator[tuple[Any, Any]]:
    """The application and a client that speaks to it over TLS."""
    chain, key = write_pem(folder)
    app = apps.application()
    async with apps.hypercorn_serving(app, certfile=str(chain), keyfile=str(key)) as port:
        async with httpx.AsyncClient(
            base_url=f"https://localhost:{port}", http2=http2, verify=client_context(), timeout=30
        ) as client:
            yield app, client


def test_requests(loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path, http2: bool) -> None:
    async def main() -> None:
        async with served(tmp_path, http2) as (_app, client):
            for number in range(100):
                answer = await client.get("/hello", params={"name": str(number)})
                assert answer.json() == {"hello": str(number)}
                assert answer.http_version == VERSIONS[http2]

    run(loop, main(), TIME_LIMIT_S)


def test_requests_at_once(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path, http2: bool
) -> None:
    """Over HTTP/2 they share one connection."""

    async def main() -> None:
        async with served(tmp_path, http2) as (_app, client):
            size = {"size": 200_000}
            answers = await asyncio.gather(
                *(client.get("/download", params=size) for _ in range(50))
            )
            assert {digest(each.content) for each in answers} == {digest(pattern(200_000))}

    run(loop, main(), TIME_LIMIT_S)


def test_large_bodies(loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path, http2: bool) -> None:
    data = pattern(5 * MIB)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 50_000):
            yield data[start : start + 50_000]

    async def main() -> None:
        async with served(tmp_path, http2) as (_app, client):
            answer = await client.post("/upload", content=pieces())
            assert answer.json() == {"size": len(data), "sha256": digest(data)}
            answer = await client.get("/download", params={"size": len(data)})
            assert digest(answer.content) == digest(data)

    run(loop, main(), TIME_LIMIT_S)


def test_a_cancelled_request(
    loop: asyncio.AbstractEventLoop, tmp_path: pathlib.Path, http2: bool
) -> None:
    async def main() -> None:
        async with served(tmp_path, http2) as (app, client):
            begun = asyncio.Event()

            async def read() -> None:
                async with client.stream("GET", "/forever") as answer:
                    async for _ in answer.aiter_raw():
                        begun.set()

            reading = asyncio.ensure_future(read())
            await begun.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            if not http2:  # hypercorn goes on with a stream that was reset
                await app.state.cancelled.wait()
            assert (await client.get("/hello")).json() == {"hello": "you"}

    run(loop, main(), TIME_LIMIT_S)


def test_a_server_that_does_not_answer(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with listen() as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            async with httpx.AsyncClient(timeout=0.1) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(url)
            async with httpx.AsyncClient(timeout=0.1) as client:
                with pytest.raises(httpx.ConnectTimeout):
                    await client.get(url.replace("http:", "https:"))

    run(loop, main(), TIME_LIMIT_S)
