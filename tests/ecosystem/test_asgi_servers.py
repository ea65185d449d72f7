"""uvicorn and hypercorn serve a FastAPI application on the loop under test.

Owns: the servers, on the same loop as their client (httpx) in each test.
Thread: the loop's own; `def` routes run in worker threads.
Must not: choose a port.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

apps = pytest.importorskip("tests.ecosystem.apps")
httpx = pytest.importorskip("httpx")
TIME_LIMIT_S = 40.0
Serving = Callable[..., Any]


@pytest.fixture(params=["uvicorn-httptools", "uvicorn-h11", "hypercorn"])
def serving(request: pytest.FixtureRequest) -> Serving:
    name, _, parser = request.param.partition("-")
    pytest.importorskip(name)
    if name == "hypercorn":
        return apps.hypercorn_serving  # type: ignore[no-any-return]
    return lambda app: apps.uvicorn_serving(app, http=parser)


def test_requests(loop: asyncio.AbstractEventLoop, serving: Serving) -> None:
    async def main() -> None:
        app = apps.application()
        async with (
            serving(app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            for number in range(100):
                answer = await client.get("/hello", params={"name": str(number)})
                assert answer.json() == {"hello": str(number)}
            assert (await client.get("/nowhere")).status_code == 404
            assert (await client.get("/thread")).json() == {"main": False}
        assert app.state.log == ["startup", "shutdown"]

    run(loop, main(), TIME_LIMIT_S)


def test_large_bodies(loop: asyncio.AbstractEventLoop, serving: Serving) -> None:
    data = pattern(20 * MIB)

    async def main() -> None:
        app = apps.application()
        async with (
            serving(app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            answer = await client.post("/upload", content=data)
            assert answer.json() == {"size": len(data), "sha256": digest(data)}
            answer = await client.get("/download", params={"size": 10_000_000})
            assert digest(answer.content) == digest(pattern(10_000_000))
        assert app.state.log == ["startup", "background", "shutdown"]

    run(loop, main(), TIME_LIMIT_S)


def test_connections_at_once(loop: asyncio.AbstractEventLoop, serving: Serving) -> None:
    async def main() -> None:
        async with serving(apps.application()) as port:
            # The servers close a connection that rests for 5 s, which all of this takes at times.
            limits = httpx.Limits(max_connections=100, keepalive_expiry=1)
            address = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=address, limits=limits, timeout=30) as client:
                answers = await asyncio.gather(*(client.get("/hello") for _ in range(300)))
            assert {answer.text for answer in answers} == {'{"hello":"you"}'}

    run(loop, main(), TIME_LIMIT_S)


def test_a_client_that_goes(loop: asyncio.AbstractEventLoop, serving: Serving) -> None:
    """The application's answer is cancelled, and the server goes on."""

    async def main() -> None:
        app = apps.application()
        async with (
            serving(app) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            async with client.stream("GET", "/forever") as answer:
                async for _ in answer.aiter_raw():
                    break
            await app.state.cancelled.wait()
            assert (await client.get("/hello")).status_code == 200

    run(loop, main(), TIME_LIMIT_S)


@pytest.mark.parametrize("implementation", ["websockets-sansio", "websockets"])
def test_websockets_below_uvicorn(loop: asyncio.AbstractEventLoop, implementation: str) -> None:
    websockets = pytest.importorskip("websockets")
    data = pattern(MIB)

    async def main() -> None:
        app = apps.application()
        async with apps.uvicorn_serving(app, ws=implementation) as port:
            async with websockets.connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as client:
                for _ in range(5):
                    await client.send(data)
                    assert digest(await client.recv()) == digest(data)
                await client.send("enough")
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    await client.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "enough")

    run(loop, main(), TIME_LIMIT_S)


def test_websockets_below_hypercorn(loop: asyncio.AbstractEventLoop) -> None:
    pytest.importorskip("hypercorn")
    websockets = pytest.importorskip("websockets")
    data = pattern(MIB)

    async def main() -> None:
        async with apps.hypercorn_serving(apps.application()) as port:
            async with websockets.connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as client:
                for _ in range(5):
                    await client.send(data)
                    assert digest(await client.recv()) == digest(data)
                await client.send("enough")
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    await client.recv()
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "enough")

    run(loop, main(), TIME_LIMIT_S)
