"""Web servers that answer hello, or a page: aiohttp, with TLS 1.3 too, and uvicorn with httptools.

Owns the two smallest applications that a framework allows, and what they answer (``ANSWERS``).
Everything runs on the loop's thread. Access logs are off: they would measure logging. The kinds are
named in ``STARTERS``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from aiohttp import web

from bench.servers.echo import BACKLOG, HOST, EchoOptions, Serving, Starter, self_made_context

HELLO = b"Hello, world!\n"
PAGE = bytes(range(32, 127)) * 256   # 24 KB: of 64 answers an allocator gives back memory each time


async def answer_hello(request: web.Request) -> web.Response:
    """Answer every request with the same few bytes."""
    return web.Response(body=HELLO, content_type="text/plain")


async def answer_page(request: web.Request) -> web.Response:
    """Answer every request with the same page, copied as one that was rendered would be new."""
    return web.Response(body=bytes(bytearray(PAGE)), content_type="text/plain")


async def start_aiohttp(options: EchoOptions) -> Serving:
    """Serve hello with aiohttp."""
    return await run_aiohttp(answer_hello, None)


async def start_aiohttp_tls(options: EchoOptions) -> Serving:
    """Serve hello with aiohttp over TLS 1.3."""
    return await run_aiohttp(answer_hello, self_made_context(options.ca_file))


async def start_aiohttp_page(options: EchoOptions) -> Serving:
    """Serve the page with aiohttp."""
    return await run_aiohttp(answer_page, None)


async def run_aiohttp(answer: Any, ssl_context: Any) -> Serving:
    """Set an aiohttp application up on a free port, with TLS if a context is given."""
    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, ssl_context=ssl_context, backlog=BACKLOG)
    await site.start()
    return Serving(runner.addresses[0][1], runner)


async def asgi_hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The smallest ASGI application that answers."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"text/plain"),
                (b"content-length", str(len(HELLO)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": HELLO})


async def start_uvicorn(options: EchoOptions) -> Serving:
    """Serve hello with uvicorn and httptools, on the loop that is already running."""
    config = uvicorn.Config(
        asgi_hello, http="httptools", loop="none", lifespan="off", access_log=False,
        log_level="warning", backlog=BACKLOG, host=HOST, port=0,
    )
    server = uvicorn.Server(config)
    task = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        if task.done():
            raise RuntimeError("uvicorn ended before it served")
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    return Serving(port, task)


STARTERS: dict[str, Starter] = {
    "aiohttp": start_aiohttp,
    "aiohttp-tls": start_aiohttp_tls,
    "aiohttp-page": start_aiohttp_page,
    "uvicorn": start_uvicorn,
}

ANSWERS = {kind: PAGE if kind == "aiohttp-page" else HELLO for kind in STARTERS}
