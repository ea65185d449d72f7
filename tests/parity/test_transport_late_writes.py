"""Writes that come too late: after close, after abort, after the peer has gone.

Owns: that they are quiet, as asyncio's are, and when they are logged.
Thread: the test's own; the peer blocks in worker threads.
Must not: expect an exception from write.
"""

import asyncio
import logging

import pytest

from tests.support.net import connected, run, turns, with_peer
from tests.support.payload import MIB
from tests.support.recorders import Recorder


@pytest.mark.parametrize("when", ["closing", "closed", "aborted"])
def test_write_after_close_is_quiet(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            if when == "aborted":
                protocol.transport.abort()
            else:
                protocol.transport.close()
            if when == "closed":
                await protocol.lost
            for _ in range(3):
                protocol.transport.write(b"too late")
            assert await peer.recv() == b""
            assert await protocol.lost is None

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(loop, main())
    assert caplog.records == []


def test_persistent_writes_after_close_are_logged(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """After five ignored writes each further one is a warning, as in asyncio."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.close()
            for _ in range(10):
                protocol.transport.write(b"too late")
            assert await peer.recv() == b""

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(loop, main())
    messages = {record.getMessage() for record in caplog.records}
    assert messages == {"socket.send() raised exception."}
    assert 5 <= len(caplog.records) <= 6


def test_write_after_the_peer_reset(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.pause_reading()  # the reset is met by the write alone
            peer.reset()
            for _ in range(3):
                protocol.transport.write(b"x" * 100_000)
                await turns(2)
            assert isinstance(await protocol.lost, ConnectionError)
            protocol.transport.write(b"quiet")
            assert protocol.calls[-1] == "connection_lost"

    run(loop, main())


def test_peer_vanishes_while_much_is_pending(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            server.transport.write(b"x" * 20 * MIB)
            await client.received(100_000)
            client.transport.abort()
            assert isinstance(await server.lost, ConnectionError)
            assert server.transport.get_write_buffer_size() == 0

    run(loop, main())
