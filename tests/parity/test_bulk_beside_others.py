"""Bulk that is more than one receive brings, and others: whoever has something to do gets to it.

Owns: a connection whose socket holds several pieces beside messages, timers, writes and a fork.
Thread: the test's own; the peers' sockets are written to from there.
Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bulk import BULK_BYTES, settle
from tests.support.descriptors import room_for_descriptors
from tests.support.net import Peer, only_on, run, turns, with_peer
from tests.support.pieces import (
    DATA,
    PIECES_AHEAD_MAX,
    Buffered,
    Piecewise,
    Plain,
    all_came,
    each_protocol,
    used_to_bulk,
    whole,
    with_bulk,
)
from tests.support.recorders import Echo, HalfOpenRecorder


class Short(asyncio.Protocol):
    """Notes that something came."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def data_received(self, data: bytes) -> None:
        self.log.append("short")

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.log.append("short")


@each_protocol
@pytest.mark.parametrize("kind", ["stream", "datagram", "reader"])
def test_a_short_message_goes_before_the_rest(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], kind: str
) -> None:
    async def main() -> None:
        log: list[str] = []
        datagrams = kind == "datagram"
        ours, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM)
        ours.setblocking(False)
        transport: Any = None
        if kind == "reader":
            loop.add_reader(ours, lambda: log.append("short") if ours.recv(100) else None)
        elif datagrams:
            transport, _ = await loop.create_datagram_endpoint(lambda: Short(log), sock=ours)
        else:
            transport, _ = await loop.create_connection(lambda: Short(log), sock=ours)
        await turns(5)

        def act(protocol: Piecewise) -> None:
            protocol.log = log
            log.append("piece")
            theirs.send(b"short")

        try:
            async with with_bulk(factory, act) as (protocol, _peer):
                await all_came(protocol, log, "short")
        finally:
            if transport is None:
                loop.remove_reader(ours)
                ours.close()
            else:
                transport.close()
            theirs.close()

    run(loop, main())


@each_protocol
def test_a_short_message_of_a_connection_used_to_bulk_goes_before_the_rest(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        async with with_peer(Plain) as (other, other_peer):
            await settle(other, other_peer)
            await turns(5)

            def act(protocol: Piecewise) -> None:
                other.at_first = lambda: protocol.log.append("short")
                other_peer.sock.send(b"short")

            async with with_bulk(factory, act) as (protocol, _peer):
                await all_came(protocol, protocol.log, "short")

    run(loop, main())


@each_protocol
@pytest.mark.parametrize("later_s", [0, 0.002])
def test_a_timer_goes_before_the_rest(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], later_s: float
) -> None:
    async def main() -> None:
        def act(protocol: Piecewise) -> None:
            loop.call_later(later_s, protocol.log.append, "called")
            time.sleep(later_s)

        async with with_bulk(factory, act) as (protocol, _peer):
            await all_came(protocol, protocol.log, "called")

    run(loop, main())


@each_protocol
def test_slow_callbacks_end_it(loop: asyncio.AbstractEventLoop, factory: type[Piecewise]) -> None:
    """It lasts 5 ms at most: others may have something to do of which nobody knows yet."""

    async def main() -> None:
        def act(protocol: Piecewise) -> None:
            time.sleep(0.006)
            protocol.at_first = lambda: act(protocol)

        async with with_bulk(factory, act) as (protocol, _peer):
            await asyncio.sleep(0.3)           # once: a timer that is due would end it as well
            assert protocol.buffer == DATA
            for turn in set(protocol.turns):
                assert protocol.turns.count(turn) <= 2 or turn == 0     # asyncio does not tell

    run(loop, main())


def test_an_answer_leaves_before_the_rest(loop: asyncio.AbstractEventLoop) -> None:
    """A message that came before the bulk is answered; the peer has that by the third piece."""

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            # With next to no connections it would be sent at once.
            *_, (_echo, asking) = [
                await stack.enter_async_context(with_peer(Echo)) for _ in range(10)
            ]
            asking.sock.setblocking(False)

            def look_for_answer() -> None:
                with contextlib.suppress(BlockingIOError):
                    protocol.log.append(asking.sock.recv(100).decode())
                if "answer" not in protocol.log:
                    protocol.at_first = look_for_answer

            protocol, peer = await stack.enter_async_context(used_to_bulk(Buffered))
            protocol.at_first = look_for_answer
            asking.sock.send(b"answer")
            peer.sock.sendall(DATA)
            await all_came(protocol, protocol.log, "answer")

    run(loop, main())


@only_on("loopx")
@each_protocol
def test_who_writes_while_a_send_waits_takes_turns(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    """asyncio receives once a turn, whoever it is."""

    async def main() -> None:
        def write(protocol: Piecewise) -> None:
            protocol.transport.write(b"a" * 100)
            protocol.at_first = lambda: write(protocol)

        async with with_bulk(factory, write, resumed=False) as (protocol, peer):
            protocol.transport.set_write_buffer_limits(high=1 << 30)
            protocol.transport.write(bytes(20_000_000))        # more than the peer's socket takes
            await asyncio.sleep(0.05)
            protocol.transport.resume_reading()
            assert await whole(protocol) == DATA
            assert len(set(protocol.turns)) == len(protocol.turns) > 1
            await peer.recv_exactly(20_000_000 + 100 * len(protocol.turns))

    run(loop, main())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@only_on("loopx")
@each_protocol
def test_a_child_that_forks_at_the_first_piece_gets_no_more(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    """asyncio's child would read what is the parent's."""
    parent = os.getpid()
    children: list[int] = []

    async def main() -> None:
        async with with_bulk(factory, lambda _protocol: children.append(os.fork())) as (
            protocol,
            _peer,
        ):
            assert await whole(protocol) == DATA

    try:
        run(loop, main())
    except RuntimeError as error:
        if os.getpid() == parent:
            raise
        os._exit(7 if "the process that forked this one" in str(error) else 8)
    finally:
        if os.getpid() != parent:
            os._exit(9)
    [child] = children
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


class Endless:
    """Bulk each piece of which has the next one sent: the socket is never empty."""

    def __init__(self, protocol: Piecewise, peer: Peer) -> None:
        peer.sock.setblocking(False)
        self.protocol, self.peer = protocol, peer
        self.send_on()

    def send_on(self) -> None:
        self.protocol.at_first = self.send_on
        self.protocol.log.clear()
        self.protocol.turns.clear()
        self.protocol.buffer.clear()
        with contextlib.suppress(BlockingIOError):
            self.peer.sock.send(DATA)


@each_protocol
def test_bulk_without_an_end_does_not_keep_the_loop(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        async with with_bulk(factory) as (protocol, peer):
            Endless(protocol, peer)
            for _ in range(3):
                await asyncio.sleep(0.01)
            protocol.transport.abort()

    run(loop, main())


def test_bulk_without_an_end_leaves_others_their_share(loop: asyncio.AbstractEventLoop) -> None:
    """About as much each: without turns one would get a piece for each 32 of the other."""

    async def main() -> None:
        async with with_bulk(Buffered) as one, with_bulk(Buffered) as other:
            Endless(*one)
            Endless(*other)
            await asyncio.sleep(0.01)
            before = [protocol.received_bytes for protocol, _peer in (one, other)]
            await asyncio.sleep(0.2)
            shares = [
                protocol.received_bytes - bytes_before
                for (protocol, _peer), bytes_before in zip((one, other), before, strict=True)
            ]
            for protocol, _peer in (one, other):
                protocol.transport.abort()
            assert min(shares) > max(shares) / 8, shares

    run(loop, main())


class Counting(asyncio.Protocol):
    """Counts messages."""

    received = 0

    def data_received(self, data: bytes) -> None:
        self.received += 1


class Bursting(HalfOpenRecorder):
    """Has the others' peers send when it receives."""

    peers: list[socket.socket]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        for peer in self.peers:
            peer.send(b"x")


@only_on("loopx")
def test_before_a_poll_for_bulk_no_more_is_received_than_there_are_buffers(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """What came is told of before the poll is made, but a part at a time: or receives would find
    no buffer, end, and be submitted anew."""
    count = 1_200

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            bulk, bulk_peer = await stack.enter_async_context(with_peer(Bursting))
            bulk.peers = []
            others = [Counting() for _ in range(count)]
            for other in others:
                ours, theirs = socket.socketpair()
                stack.enter_context(theirs)
                transport, _ = await loop.create_connection(iter([other]).__next__, sock=ours)
                stack.callback(transport.abort)
                bulk.peers.append(theirs)
            submissions = []
            for number in range(1, 7):
                before = loop.stats()["submissions"]
                bulk_peer.sock.sendall(bytes(BULK_BYTES))
                await bulk.read(BULK_BYTES)
                while any(other.received < number for other in others):
                    await asyncio.sleep(0)
                submissions.append(loop.stats()["submissions"] - before)
            assert max(submissions[3:]) < 20, submissions    # the first ones make buffers
        await turns(3)

    with room_for_descriptors(2 * count + 200):
        run(loop, main())
