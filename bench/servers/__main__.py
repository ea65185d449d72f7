"""Command line of the servers under test.

Owns the process: its limits, the state of its allocator, the readiness line. Web frameworks are
only imported for the kinds that use them, or they would count as the memory of an echo server.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from pathlib import Path

from bench.loops import LOOPS, new_event_loop
from bench.servers import echo, transfer

ALLOCATOR_BLOCK_BYTES = 4 * 2**20
WEB_KINDS = ("aiohttp", "aiohttp-tls", "aiohttp-page", "uvicorn")


def starter_of(kind: str) -> echo.Starter:
    """Return the coroutine function that starts a server of this kind."""
    for starters in (echo.STARTERS, transfer.STARTERS):
        if kind in starters:
            return starters[kind]
    from bench.servers import web

    return web.STARTERS[kind]


def warm_allocator() -> None:
    """Free one large block, as every process has done that once read a file or a big answer.

    glibc serves blocks above 128 KiB by mmap until one of them has been freed whole (man 3
    mallopt, M_MMAP_THRESHOLD). Some loops allocate 256 KiB for a receive and shrink it: whether
    each of those is three system calls or none would depend on what was imported before. Without
    this, some loops measure 4 times slower in a bare echo server than in the same server with
    one more import. A server of pages does without: what an allocator that trims its heap costs
    is a part of what its row is to show.
    """
    block = bytearray(ALLOCATOR_BLOCK_BYTES)
    del block


async def serve(kind: str, options: echo.EchoOptions) -> None:
    """Start the server, announce its address, and go on until a signal ends the process."""
    serving = await starter_of(kind)(options)
    print(f"READY {serving.unix_name or serving.port}", flush=True)
    await asyncio.Event().wait()


def main() -> int:
    """Serve one kind of server on one loop."""
    parser = argparse.ArgumentParser(prog="python -m bench.servers", description=main.__doc__)
    parser.add_argument("--loop", required=True, choices=LOOPS)
    kinds = [*echo.STARTERS, *transfer.STARTERS, *WEB_KINDS]
    parser.add_argument("--kind", required=True, choices=kinds)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a message")
    parser.add_argument("--answer", type=int, default=0, help="bytes of an answer (transfers)")
    parser.add_argument("--ca", type=Path, help="where to write the authority (TLS kinds)")
    arguments = parser.parse_args()
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    if arguments.kind != "aiohttp-page":
        warm_allocator()
    options = echo.EchoOptions(arguments.size, arguments.ca, arguments.answer)
    with asyncio.Runner(loop_factory=lambda: new_event_loop(arguments.loop)) as runner:
        runner.run(serve(arguments.kind, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
