"""Checks that a server of ``examples/aiohttp_server.py`` answers every route right.

Owns the expectations. Runs aiohttp's client on asyncio's own loop, so that the client is the same
whatever loop the server has. Raises RunError with the route and what was wrong with its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from bench.paths import EXAMPLES
from bench.processes import RunError

TIMEOUT_SECONDS = 10.0
UPLOAD_BYTES = 3 * 2**20 + 17
STREAM_LINES = 100


def expect(what: str, actual: object, expected: object) -> None:
    """Raise RunError unless two values are equal."""
    if actual != expected:
        raise RunError(f"{what} is {shorten(actual)}, expected {shorten(expected)}")


def shorten(value: object) -> str:
    """Return a value's text, without the middle if it is long."""
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:60]} ... {text[-40:]}"


async def check_hello(session: aiohttp.ClientSession, loop_prefix: str) -> None:
    """The plain text route."""
    async with session.get("/") as answer:
        expect("GET / status", answer.status, 200)
        expect("GET / body", await answer.text(), "Hello, world!\n")


async def check_json(session: aiohttp.ClientSession, loop_prefix: str) -> None:
    """The JSON route, which also proves which loop serves."""
    async with session.get("/json", params={"key": "value & more"}) as answer:
        expect("GET /json status", answer.status, 200)
        document = await answer.json()
    expect("GET /json query", document["query"], {"key": "value & more"})
    if not document["loop"].startswith(loop_prefix):
        raise RunError(f"the server runs on {document['loop']}, not on {loop_prefix}")


async def check_echo(session: aiohttp.ClientSession, loop_prefix: str) -> None:
    """The POST route: nothing, a little, and more than any buffer holds."""
    large = bytes(index * 31 % 251 for index in range(4093)) * (UPLOAD_BYTES // 4093 + 1)
    for body in (b"", b"posted", large[:UPLOAD_BYTES]):
        async with session.post("/echo", data=body) as answer:
            expect("POST /echo status", answer.status, 200)
            expect(f"POST /echo body of {len(body)} bytes", await answer.read(), body)


async def check_stream(session: aiohttp.ClientSession, loop_prefix: str) -> None:
    """The streamed route: chunked, complete and in order."""
    async with session.get("/stream") as answer:
        expect("GET /stream status", answer.status, 200)
        expect("GET /stream encoding", answer.headers.get("Transfer-Encoding"), "chunked")
        lines = (await answer.text()).splitlines()
    expect("GET /stream lines", lines, [f"line {number}" for number in range(STREAM_LINES)])


async def check_websocket(session: aiohttp.ClientSession, loop_prefix: str) -> None:
    """The WebSocket route: text, bytes and a large message, then a clean close."""
    async with session.ws_connect("/ws") as socket:
        await socket.send_str("text")
        expect("WebSocket text", await socket.receive_str(), "text")
        for size in (0, 5, 70_000):
            await socket.send_bytes(b"x" * size)
            expect(f"WebSocket message of {size} bytes", await socket.receive_bytes(), b"x" * size)
        await socket.close()
        expect("WebSocket close code", socket.close_code, 1000)


async def check_static(session: aiohttp.ClientSession, loop_prefix: str) -> None:
    """The static file, whole and by range, and a file that is not there."""
    content = (EXAMPLES / "static" / "index.html").read_bytes()
    async with session.get("/static/index.html") as answer:
        expect("GET /static/index.html status", answer.status, 200)
        expect("GET /static/index.html body", await answer.read(), content)
    async with session.get("/static/index.html", headers={"Range": "bytes=10-99"}) as answer:
        expect("range of /static/index.html status", answer.status, 206)
        expect("range of /static/index.html body", await answer.read(), content[10:100])
    async with session.get("/static/absent.html") as answer:
        expect("GET /static/absent.html status", answer.status, 404)


CHECKS: dict[str, Callable[[aiohttp.ClientSession, str], Awaitable[None]]] = {
    "hello": check_hello,
    "JSON": check_json,
    "POST echo": check_echo,
    "stream": check_stream,
    "WebSocket": check_websocket,
    "static file": check_static,
}


async def check_all(port: int, loop_prefix: str) -> None:
    """Make every check against the server on ``port``."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    base = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(base, timeout=timeout) as session:
        for name, check in CHECKS.items():
            try:
                await check(session, loop_prefix)
            except (aiohttp.ClientError, OSError, TimeoutError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
                raise RunError(f"route {name}: {reason}") from error


def check_routes(port: int, loop_prefix: str) -> None:
    """Raise RunError unless every route answers right and the loop is the one expected.

    ``loop_prefix`` is how the qualified name of the loop's class must begin.
    """
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(check_all(port, loop_prefix))
