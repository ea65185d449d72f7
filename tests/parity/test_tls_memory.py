"""TLS that goes on for long: memory stays where it is.

Owns: many exchanges over one connection and many connections one after the other, measured both
by what Python has allocated and by what the process has, OpenSSL's memory among it.
Thread: the test's own.
Must not: run on asyncio's loop, whose memory is not ours to test.
"""

import asyncio
import gc
import itertools
import tracemalloc
from collections.abc import Awaitable, Callable

import psutil
import pytest

from tests.support import certs
from tests.support.net import connected, echo_once, only_on, run
from tests.support.recorders import Echo, Recorder, Registry
from tests.support.sanitizers import UNDER_ASAN

# Of half the steps each.
ALLOCATED_MAX_BYTES = 32 * 1024
RESIDENT_MAX_BYTES = 2 * 1024 * 1024


async def check_flat(step: Callable[[], Awaitable[None]], warm_up: int, count: int) -> None:
    """Neither Python nor the process grows while `step` is done `count` times.

    A leak grows in both halves of that. A table of the interpreter that is made anew at twice its
    size, as that of interned strings (1.9 MB) when certificates are read, grows in one of them.
    """

    def used_bytes() -> tuple[int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss

    tracemalloc.start()
    try:
        for _ in range(warm_up):
            await step()
        used = [used_bytes()]
        for _ in range(2):
            for _ in range(count // 2):
                await step()
            used.append(used_bytes())
    finally:
        tracemalloc.stop()
    grown = [
        (after[0] - before[0], after[1] - before[1])
        for before, after in itertools.pairwise(used)
    ]
    assert min(allocated for allocated, _ in grown) < ALLOCATED_MAX_BYTES, grown
    if not UNDER_ASAN:                       # which keeps what is freed for a while
        assert min(resident for _, resident in grown) < RESIDENT_MAX_BYTES, grown


@only_on("loopx")
@pytest.mark.time_limit(120)
def test_ten_thousand_echoes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Echo, **certs.both_ends()) as (client, server):

            async def step() -> None:
                await echo_once(client, b"x" * 1000)
                server.buffer.clear()

            await check_flat(step, warm_up=1_000, count=10_000)

    run(loop, main(), timeout_s=100)


@only_on("loopx")
@pytest.mark.time_limit(120)
def test_two_thousand_connections(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        trusting = certs.client_context()
        registry = Registry()
        server = await loop.create_server(registry, "127.0.0.1", 0, ssl=certs.server_context())
        address = server.sockets[0].getsockname()

        async def step() -> None:
            _, client = await loop.create_connection(
                Recorder, *address, ssl=trusting, server_hostname=certs.HOSTNAME
            )
            await echo_once(client)
            client.transport.close()
            await client.lost
            await registry.protocols.pop().lost

        await check_flat(step, warm_up=300, count=2_000)
        server.close()
        await server.wait_closed()

    run(loop, main(), timeout_s=100)
