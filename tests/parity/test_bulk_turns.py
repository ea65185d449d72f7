"""Bulk of many connections: who is served when.

Owns: connections that are used to bulk and have some at the same moment, callbacks that become
ready by it, and a message that is told of twice.
Thread: the test's own; the peers' sockets are written to from there.
Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from tests.support.net import Peer, only_on, run, turns, with_peer
from tests.support.recorders import Recorder, RecordingProtocol

BULK_BYTES = 20_000
SETTLED = 40                    # so many messages, and one poll goes on telling
CONNECTIONS = 12
AHEAD_BYTES_MAX = 49_152 + BULK_BYTES      # loopx receives no more before it runs what is ready


async def settle(protocol: RecordingProtocol, peer: Peer) -> None:
    for _ in range(SETTLED):
        peer.sock.sendall(b"s" * BULK_BYTES)
        assert await protocol.read(BULK_BYTES) == b"s" * BULK_BYTES


class Scheduling(Recorder):
    """Says that it was given something, and may have something run for it."""

    def __init__(self) -> None:
        super().__init__()
        self.received: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.received is not None:
            self.received()


@contextlib.asynccontextmanager
async def settled_connections(count: int) -> AsyncIterator[list[tuple[Scheduling, Peer]]]:
    async with contextlib.AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            protocol, peer = await stack.enter_async_context(with_peer(Scheduling))
            await settle(protocol, peer)
            connections.append((protocol, peer))
        yield connections


async def log_of_a_round(connections: list[tuple[Scheduling, Peer]]) -> list[tuple[str, int]]:
    """All get a message at the same moment, and schedule a call; what happened, in order."""
    log: list[tuple[str, int]] = []
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        log.append(("received", number))
        loop.call_soon(log.append, ("ran", number))

    for number, (protocol, peer) in enumerate(connections):
        protocol.received = partial(received, number)
        peer.sock.sendall(bytes([number]) * BULK_BYTES)
    for number, (protocol, _) in enumerate(connections):
        assert await protocol.read(BULK_BYTES) == bytes([number]) * BULK_BYTES
        protocol.received = None
    await turns(2)
    return log


def test_what_bulk_makes_ready_runs_once_in_the_order_in_which_it_came(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with settled_connections(CONNECTIONS) as connections:
            for _ in range(10):
                log = await log_of_a_round(connections)
                received = [number for what, number in log if what == "received"]
                assert sorted(received) == list(range(CONNECTIONS))
                assert [number for what, number in log if what == "ran"] == received

    run(loop, main())


@only_on("loopx")
def test_what_bulk_makes_ready_runs_before_much_more_is_received(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Else the last of it would have pushed the first out of the processor's caches."""

    async def main() -> None:
        async with settled_connections(CONNECTIONS) as connections:
            log = await log_of_a_round(connections)
            waiting_bytes = 0
            for what, _ in log:
                waiting_bytes += BULK_BYTES if what == "received" else -BULK_BYTES
                assert waiting_bytes <= AHEAD_BYTES_MAX, log

    run(loop, main())


@only_on("loopx")
def test_bulk_that_makes_nothing_ready_is_received_in_one_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with settled_connections(CONNECTIONS) as connections:
            in_turns: list[int] = []
            done = asyncio.get_running_loop().create_future()

            def received() -> None:
                in_turns.append(loop.stats()["turns"])
                if len(in_turns) == CONNECTIONS:
                    done.set_result(None)

            for protocol, peer in connections:
                protocol.received = received
                peer.sock.sendall(bytes(BULK_BYTES))
            await done
            assert len(set(in_turns)) == 1, in_turns

    run(loop, main())


@only_on("loopx")
def test_one_poll_goes_on_as_long_as_bulk_does(loop: asyncio.AbstractEventLoop) -> None:
    """To end it every so often would have each such message wait two turns."""

    async def main() -> None:
        async with settled_connections(1) as connections:
            (protocol, peer) = connections[0]
            await settle(protocol, peer)
            before = loop.stats()["submissions"]
            ends_at = loop.time() + 0.4
            while loop.time() < ends_at:
                await settle(protocol, peer)
            assert loop.stats()["submissions"] - before < 4

    run(loop, main())


@only_on("loopx")
def test_a_message_told_of_twice_brings_the_next_one_no_earlier(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Its two pieces are collected apart, and received together; the next one comes meanwhile."""
    then: list[Callable[[], None]] = []
    received_in: list[int] = []

    class Acting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            received_in.append(loop.stats()["turns"])
            if then:
                then.pop(0)()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            others = [await stack.enter_async_context(with_peer(Recorder)) for _ in range(24)]
            _, first_peer = await stack.enter_async_context(with_peer(Acting))
            protocol, peer = await stack.enter_async_context(with_peer(Acting))
            await settle(protocol, peer)
            peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            received_in.clear()

            def send_and_collect(half: list[tuple[Recorder, Peer]]) -> None:
                peer.sock.sendall(bytes(BULK_BYTES))
                # Over 256 KiB: they leave at once, and completions are collected.
                for other, _ in half:
                    other.transport.write(bytes(30_000))

            def send_in_two_pieces() -> None:
                send_and_collect(others[:12])
                send_and_collect(others[12:])

            then.extend([send_in_two_pieces, lambda: peer.sock.sendall(bytes(BULK_BYTES))])
            before = loop.stats()["completions"]
            first_peer.sock.sendall(b"x")
            assert await protocol.read(3 * BULK_BYTES) == bytes(3 * BULK_BYTES)
            assert loop.stats()["completions"] - before >= 4      # of protocol three
            assert len(received_in) == 3, received_in
            assert received_in[2] > received_in[1] > received_in[0]

    for _ in range(5):
        run(loop, main())
