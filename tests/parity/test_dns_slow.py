"""Name servers that do not answer: what they hold up, and what they do not.

Owns: look-ups that block beside others, beside work for the executor and beside literals.
Thread: the test's own; look-ups block in worker threads until the test lets them go.
Must not: ask a real name server.
"""

import asyncio
import os
import socket
import threading
from typing import Any

import pytest

from tests.support.net import only_on, run
from tests.support.recorders import Echo, Recorder


@only_on("loopx")
def test_slow_look_ups_hold_up_nothing_else(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio has min(32, processors + 4) threads for them and for everything else."""
    answer = threading.Event()
    really = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "slow.test":
            answer.wait()
        return really("127.0.0.1", *arguments, **options)

    async def main() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        slow = [asyncio.ensure_future(loop.getaddrinfo("slow.test", port)) for _ in range(24)]
        try:
            for host in ("fast.test", "127.0.0.1"):
                _, client = await loop.create_connection(Recorder, host, port)
                client.transport.close()
                await client.lost
            assert await loop.run_in_executor(None, os.getpid) == os.getpid()
            assert not any(each.done() for each in slow)
        finally:
            answer.set()
        assert all(await asyncio.gather(*slow))
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()

    run(loop, main())
