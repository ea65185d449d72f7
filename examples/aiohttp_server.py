"""A plain aiohttp application: routes, JSON, an echo, a streamed answer, a WebSocket, files.

It is ordinary aiohttp code and knows nothing of the event loop that it runs on. Start it with
``python examples/aiohttp_server.py``, or on another loop with ``python -m loopx run
examples/aiohttp_server.py``, and open http://127.0.0.1:8080/static/index.html.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from aiohttp import WSMsgType, web

STATIC = Path(__file__).resolve().parent / "static"
STREAM_LINES = 100
MAX_UPLOAD_BYTES = 200 * 2**20

routes = web.RouteTableDef()


@routes.get("/")
async def hello(request: web.Request) -> web.Response:
    """Answer with a line of text."""
    return web.Response(text="Hello, world!\n")


@routes.get("/json")
async def describe(request: web.Request) -> web.Response:
    """Answer with JSON; it tells which event loop serves."""
    loop = type(asyncio.get_running_loop())
    return web.json_response(
        {
            "message": "Hello, world!",
            "loop": f"{loop.__module__}.{loop.__qualname__}",
            "query": dict(request.query),
        }
    )


@routes.post("/echo")
async def echo(request: web.Request) -> web.Response:
    """Answer with the body that was posted."""
    return web.Response(body=await request.read(), content_type=request.content_type)


@routes.get("/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    """Answer in pieces, each written when it is there: a chunked response."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    for number in range(STREAM_LINES):
        await response.write(f"line {number}\n".encode())
        await asyncio.sleep(0)
    await response.write_eof()
    return response


@routes.get("/ws")
async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Send every message back until the client closes."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


def make_application() -> web.Application:
    """Return the application with all of its routes."""
    application = web.Application(client_max_size=MAX_UPLOAD_BYTES)
    application.add_routes(routes)
    application.router.add_static("/static", STATIC)
    return application


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    web.run_app(make_application(), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
