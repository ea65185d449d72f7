"""A Starlette application that uvicorn and gunicorn serve in the tests.

Owns: its routes.  Imported by the server's process, on whose loop it runs.
Thread: the loop's own.
Must not: import loopx; the application knows nothing of the loop that it runs on.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.payload import pattern

RELEASE = asyncio.Event()


async def hello(_request: Request) -> Response:
    return PlainTextResponse("hello")


async def about(_request: Request) -> Response:
    """Which loop this is, and in which process."""
    module = type(asyncio.get_running_loop()).__module__
    return JSONResponse({"loop": module.split(".")[0], "pid": os.getpid()})


async def upload(request: Request) -> Response:
    """Size and SHA-256 of the body."""
    total_bytes, sha = 0, hashlib.sha256()
    async for chunk in request.stream():
        total_bytes += len(chunk)
        sha.update(chunk)
    return JSONResponse({"size": total_bytes, "sha256": sha.hexdigest()})


async def download(request: Request) -> Response:
    """`?size=` bytes of the pattern, streamed in pieces."""
    data = pattern(int(request.query_params["size"]))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    return StreamingResponse(pieces())


async def slow(_request: Request) -> Response:
    """Answers after SIGUSR1."""
    print("started", flush=True)
    await RELEASE.wait()
    return PlainTextResponse("finished")


@contextlib.asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, RELEASE.set)
    yield
    print("lifespan over", flush=True)


app = Starlette(
    routes=[
        Route("/hello", hello),
        Route("/about", about),
        Route("/upload", upload, methods=["POST"]),
        Route("/download", download),
        Route("/slow", slow),
    ],
    lifespan=lifespan,
)
