"""An aiohttp application for the tests, and how to serve it on the loop under test.

Owns: the routes that the server's and the client's tests share.
Thread: the loop's own.
Must not: import loopx; the application knows nothing of the loop that it runs on.
"""

import asyncio
import contextlib
import hashlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.payload import pattern

CLOSE_CODES: web.AppKey[list[int | None]] = web.AppKey("close_codes", list)


async def hello(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.Response:
    """The body as it came."""
    return web.Response(body=await request.read(), content_type="application/octet-stream")


async def peer(request: web.Request) -> web.Response:
    """Which connection the request came over, as seen by the transport."""
    assert request.transport is not None
    assert isinstance(request.transport, asyncio.Transport)
    return web.json_response({"peername": repr(request.transport.get_extra_info("peername"))})


async def upload(request: web.Request) -> web.Response:
    """Size and SHA-256 of a body that is never in memory as a whole."""
    total_bytes, sha = 0, hashlib.sha256()
    async for chunk in request.content.iter_any():
        total_bytes += len(chunk)
        sha.update(chunk)
    return web.json_response({"size": total_bytes, "sha256": sha.hexdigest()})


async def download(request: web.Request) -> web.StreamResponse:
    """`?size=` bytes of the pattern, streamed in pieces."""
    data = pattern(int(request.query["size"]))
    response = web.StreamResponse()
    if "length" in request.query:
        response.content_length = len(data)
    await response.prepare(request)
    for start in range(0, len(data), 100_000):
        await response.write(data[start : start + 100_000])
    await response.write_eof()
    return response


async def redirect(request: web.Request) -> web.Response:
    left = int(request.match_info["count"])
    raise web.HTTPFound("/hello" if left == 0 else f"/redirect/{left - 1}")


async def fail(_request: web.Request) -> web.Response:
    raise ZeroDivisionError


async def never(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def stall(request: web.Request) -> web.StreamResponse:
    """A beginning, and then nothing."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"beginning")
    await asyncio.Event().wait()
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Echo; 'close' is answered by closing with 4000."""
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.data == "close":
            await socket.close(code=4000, message=b"as you wish")
        else:
            await socket.send_str(message.data)
    request.app[CLOSE_CODES].append(socket.close_code)
    return socket


async def close_codes(request: web.Request) -> web.Response:
    """The codes with which WebSockets were closed so far."""
    return web.json_response(request.app[CLOSE_CODES])


def make_app(static: pathlib.Path | None = None) -> web.Application:
    """The application; `static` is served below /static."""
    app = web.Application(client_max_size=0)
    app[CLOSE_CODES] = []
    app.router.add_get("/hello", hello)
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/peer", peer)
    app.router.add_post("/upload", upload)
    app.router.add_get("/download", download)
    app.router.add_get("/redirect/{count}", redirect)
    app.router.add_get("/fail", fail)
    app.router.add_get("/never", never)
    app.router.add_get("/stall", stall)
    app.router.add_get("/ws", websocket)
    app.router.add_get("/close_codes", close_codes)
    if static is not None:
        app.router.add_static("/static", static)
    return app


@contextlib.asynccontextmanager
async def serving_app(
    static: pathlib.Path | None = None, path: str | None = None, **options: Any
) -> AsyncIterator[str]:
    """Serve on 127.0.0.1, port 0, or on the Unix path `path`; yields the base of the URLs."""
    runner = web.AppRunner(make_app(static), handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        site: web.BaseSite
        if path is not None:
            site = web.UnixSite(runner, path, **options)
        else:
            site = web.TCPSite(runner, "127.0.0.1", 0, **options)
        await site.start()
        scheme = "https" if options.get("ssl_context") else "http"
        if path is not None:
            yield "http://localhost"
        else:
            yield f"{scheme}://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        if static is not None:
            # aiohttp closes files in the executor, and keeps what is not told of it by then alive.
            await asyncio.get_running_loop().shutdown_default_executor()
            await asyncio.sleep(0)
