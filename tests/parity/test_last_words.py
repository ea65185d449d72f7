"""What was written right before a connection ends in a hurry still leaves.

Owns: abort() behind TLS, and callbacks that write and then raise.
Thread: the test's own; both ends are on the loop under test.
Must not: write more than the kernel takes at once, which an end in a hurry may drop.
"""

import asyncio
import socket
from typing import Any

import pytest

from tests.support import certs
from tests.support.net import capture_errors, connected, only_on, run, turns, with_peer
from tests.support.recorders import BufferedRecorder, Recorder

ANSWER = b"one", b"two", b"three"


def answering(name: str) -> type[Any]:
    """A protocol whose callback `name` writes an answer and then raises."""
    base: type[Any] = BufferedRecorder if "buffer" in name else Recorder

    def callback(self: Any, *args: Any) -> Any:
        for piece in ANSWER:
            self.transport.write(piece)
        raise ZeroDivisionError

    return type("Answering", (base,), {name: callback})


@pytest.mark.parametrize("name", ["data_received", "eof_received", "buffer_updated"])
def test_before_a_callback_raises(loop: asyncio.AbstractEventLoop, name: str) -> None:
    async def main() -> None:
        async with with_peer(answering(name)) as (protocol, peer):
            await peer.send(b"request")
            peer.half_close()
            assert await peer.recv_to_eof() == b"".join(ANSWER)
            assert type(await protocol.lost) is ZeroDivisionError
        assert len(errors) == 1

    errors = capture_errors(loop)
    run(loop, main())


def test_before_abort_behind_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            for piece in ANSWER:
                client.transport.write(piece)
            client.transport.abort()
            await server.lost
            assert server.buffer == b"".join(ANSWER)

    run(loop, main())


def test_before_a_mistake_behind_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder, **certs.both_ends()) as (client, server):
            for piece in ANSWER:
                client.transport.write(piece)
            client.transport.writelines(["no bytes"])
            assert type(await client.lost) is TypeError
            await server.lost
            assert server.buffer == b"".join(ANSWER)
        assert len(errors) == 1

    errors = capture_errors(loop)
    run(loop, main())


@only_on("loopx")
def test_words_that_cannot_be_sent(loop: asyncio.AbstractEventLoop) -> None:
    """The first failure ends it, once. asyncio sends in write(), and has met it before."""

    async def main() -> None:
        async with with_peer(Recorder) as (protocol, peer):
            protocol.transport.write(b"first")  # the others wait for the end of the turn
            protocol.transport.write(b"second")
            protocol.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
            protocol.transport._force_close(ZeroDivisionError())
            assert type(await protocol.lost) is BrokenPipeError
            assert await peer.recv_to_eof() == b"first"
            await turns()
            assert protocol.calls == ["connection_made", "connection_lost"]
        assert errors == []

    errors = capture_errors(loop)
    run(loop, main())
