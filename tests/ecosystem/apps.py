"""A FastAPI application, and how uvicorn and hypercorn serve an application on the tests' loop.

Owns: the routes, and a server from its start to its graceful end.
Thread: the loop's own; `def` routes run in anyio's worker threads.
Must not: import loopx; the application knows nothing of the loop that it runs on.
"""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.net import listen
from tests.support.payload import pattern

# Not annotations of the future: FastAPI looks at the parameters' classes.
fastapi = pytest.importorskip("fastapi")
responses = pytest.importorskip("fastapi.responses")


def application() -> Any:
    """A new application; `app.state.log` tells what happened in it."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.state.log.append("startup")
        yield
        app.state.log.append("shutdown")

    app = fastapi.FastAPI(lifespan=lifespan)
    app.state.log = []
    app.state.cancelled = asyncio.Event()
    app.add_api_route("/hello", hello)
    app.add_api_route("/thread", in_a_thread)
    app.add_api_route("/upload", upload, methods=["POST"])
    app.add_api_route("/download", download)
    app.add_api_route("/forever", forever)
    app.add_api_websocket_route("/ws", echo_messages)
    return app


async def hello(name: str = "you") -> dict[str, str]:
    return {"hello": name}


def in_a_thread() -> dict[str, bool]:
    return {"main": threading.current_thread() is threading.main_thread()}


async def upload(request: fastapi.Request, background: fastapi.BackgroundTasks) -> dict[str, Any]:
    """Size and SHA-256 of the body; a background task writes to the log afterwards."""
    total_bytes, sha = 0, hashlib.sha256()
    async for chunk in request.stream():
        total_bytes += len(chunk)
        sha.update(chunk)
    background.add_task(request.app.state.log.append, "background")
    return {"size": total_bytes, "sha256": sha.hexdigest()}


async def download(size: int) -> Any:
    """`size` bytes of the pattern, streamed in pieces."""
    data = pattern(size)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    return responses.StreamingResponse(pieces())


async def forever(request: fastapi.Request) -> Any:
    """Streams until the client has gone, which `app.state.cancelled` tells."""

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while "shutdown" not in request.app.state.log:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            request.app.state.cancelled.set()

    return responses.StreamingResponse(pieces())


async def echo_messages(websocket: fastapi.WebSocket) -> None:
    """Echo bytes; a text is answered by closing with 4000 and that reason."""
    await websocket.accept()
    with contextlib.suppress(fastapi.WebSocketDisconnect):
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
            if message.get("text"):
                await websocket.close(4000, message["text"])
                break
            await websocket.send_bytes(message["bytes"])


@contextlib.asynccontextmanager
async def uvicorn_serving(app: Any, **options: Any) -> AsyncIterator[int]:
    """Serve with uvicorn on 127.0.0.1; yields the port."""
    import uvicorn

    listener = listen()
    config = uvicorn.Config(app, log_level="warning", loop="none", **options)
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        # The kernel queues the connections that come before uvicorn accepts.
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()


@contextlib.asynccontextmanager
async def hypercorn_serving(app: Any, **options: Any) -> AsyncIterator[int]:
    """Serve with hypercorn on 127.0.0.1; yields the port. HTTP/2 needs a certificate."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    listener = listen()
    port = listener.getsockname()[1]
    config = Config.from_mapping(bind=[f"fd://{listener.detach()}"], errorlog=None, **options)
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore
    try:
        yield port
    finally:
        stop.set()
        await serving
