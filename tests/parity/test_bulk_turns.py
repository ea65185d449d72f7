"""Bulk of many connections: who is served when.

Owns: connections that are used to bulk and have some at the same moment, callbacks and timers that
become ready by it, and messages that are told of twice.
Thread: the test's own; the peers' sockets are written to from there.
Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from tests.support.bulk import BULK_BYTES, never_anew, settle  # noqa: F401
from tests.support.net import Peer, only_on, run, turns, with_peer
from tests.support.recorders import HalfOpenRecorder, Recorder

CONNECTIONS = 12
AHEAD_BYTES_MAX = 49_152 + BULK_BYTES      # loopx receives no more before it runs what is ready


class Acting(HalfOpenRecorder):
    """Says in which turn data came, and does something for each piece: what is listed, in order,
    or else always the same."""

    def __init__(self) -> None:
        super().__init__()
        self.received_in: list[int] = []
        self.to_do: list[Callable[[], None]] = []
        self.always: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        stats = getattr(asyncio.get_running_loop(), "stats", dict)
        self.received_in.append(stats().get("turns", 0))
        action = self.to_do.pop(0) if self.to_do else self.always
        if action is not None:
            action()


@contextlib.asynccontextmanager
async def settled_connections(count: int) -> AsyncIterator[list[tuple[Acting, Peer]]]:
    async with contextlib.AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            protocol, peer = await stack.enter_async_context(with_peer(Acting))
            await settle(protocol, peer)
            connections.append((protocol, peer))
        yield connections


async def log_of_a_round(connections: list[tuple[Acting, Peer]]) -> list[tuple[str, int]]:
    """All get a message at the same moment, and schedule a call; what happened, in order."""
    log: list[tuple[str, int]] = []
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        log.append(("received", number))
        loop.call_soon(log.append, ("ran", number))

    for number, (protocol, peer) in enumerate(connections):
        protocol.always = partial(received, number)
        peer.sock.sendall(bytes([number]) * BULK_BYTES)
    for number, (protocol, _) in enumerate(connections):
        assert await protocol.read(BULK_BYTES) == bytes([number]) * BULK_BYTES
        protocol.always = None
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
@pytest.mark.usefixtures("never_anew")
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


@pytest.mark.usefixtures("never_anew")
@pytest.mark.parametrize("also_ready", [False, True])
def test_timers_go_behind_bulk_that_came_before(
    loop: asyncio.AbstractEventLoop, also_ready: bool
) -> None:
    """As where data calls off a connection's time limit, and something kept the loop busy."""

    async def main() -> None:
        async with settled_connections(CONNECTIONS) as connections:
            late: list[int] = []
            limits = [
                loop.call_later(0.01, late.append, number) for number in range(CONNECTIONS)
            ]

            def received(number: int) -> None:
                limits[number].cancel()
                if also_ready:
                    loop.call_soon(int)

            for number, (protocol, peer) in enumerate(connections):
                protocol.always = partial(received, number)
                peer.sock.sendall(bytes(BULK_BYTES))
            time.sleep(0.02)
            for protocol, _ in connections:
                await protocol.read(BULK_BYTES)
            await asyncio.sleep(0.02)
            assert not late

    for _ in range(3):
        run(loop, main())


@pytest.mark.usefixtures("never_anew")
def test_timers_go_behind_bulk_that_came_while_other_data_was_handled(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Nothing but a timer is left to run then, and what came is in the kernel."""

    async def main() -> None:
        async with settled_connections(2) as ((busy, busy_peer), (protocol, peer)):
            late: list[int] = []

            def keep_busy() -> None:
                limit = loop.call_later(0.01, late.append, 0)
                protocol.always = limit.cancel
                peer.sock.sendall(bytes(BULK_BYTES))
                time.sleep(0.02)

            busy.always = keep_busy
            await asyncio.sleep(0.01)          # so that the loop has slept
            sender = threading.Timer(0.01, busy_peer.sock.sendall, [bytes(BULK_BYTES)])
            sender.start()
            assert await protocol.read(BULK_BYTES) == bytes(BULK_BYTES)
            sender.join()
            await asyncio.sleep(0.02)
            assert not late

    for _ in range(5):
        run(loop, main())


@only_on("loopx")
def test_who_had_nothing_in_a_turn_is_first_in_the_next(loop: asyncio.AbstractEventLoop) -> None:
    """The others' polls are made anew after its own told of a message; theirs are there then."""

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(with_peer(Acting)) for _ in range(CONNECTIONS)
            ]
            for protocol, peer in connections:     # bulk, but each receive still has its poll
                for _ in range(2):
                    peer.sock.sendall(bytes(BULK_BYTES))
                    await protocol.read(BULK_BYTES)
            served: list[list[int]] = [[]]
            done = loop.create_future()

            def send(number: int) -> None:
                connections[number][1].sock.sendall(bytes(BULK_BYTES))

            def received(number: int) -> None:
                served[-1].append(number)
                if len(served) == 1 and number == 0:
                    return                         # its peer answers in the next turn only
                if len(served) == 2 and len(served[-1]) == 1:
                    send(0)
                if len(served) < 3:
                    send(number)
                elif len(served[-1]) == CONNECTIONS and not done.done():
                    done.set_result(None)

            def count_turns() -> None:
                if served[-1]:
                    served.append([])
                if not done.done():
                    loop.call_soon(count_turns)

            for number, (protocol, _) in enumerate(connections):
                protocol.always = partial(received, number)
                send(number)
            count_turns()
            await done
            assert sorted(served[0]) == list(range(CONNECTIONS)), served
            assert served[1] == [number for number in served[0] if number != 0], served
            assert served[2][0] == 0, served

    run(loop, main())


@only_on("loopx")
def test_bulk_that_comes_seldom_has_a_poll_for_each_receive(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """One that went on would be judged and ended, and its connections change places by that."""

    async def main() -> None:
        async with with_peer(Acting) as (protocol, peer):
            before = loop.stats()["submissions"]
            for _ in range(60):
                peer.sock.sendall(bytes(BULK_BYTES))
                await protocol.read(BULK_BYTES)
                await asyncio.sleep(0.005)
            assert loop.stats()["submissions"] - before >= 60

    run(loop, main())


@only_on("loopx")
@pytest.mark.usefixtures("never_anew")
@pytest.mark.parametrize("busy", [False, True])
def test_bulk_that_makes_nothing_ready_is_received_in_one_turn(
    loop: asyncio.AbstractEventLoop, busy: bool
) -> None:
    """Also where something else is ready all the time."""

    async def main() -> None:
        async with settled_connections(CONNECTIONS) as connections:
            done = loop.create_future()
            received: list[int] = []

            def note(number: int) -> None:
                received.append(number)
                if len(received) == CONNECTIONS:
                    done.set_result(None)

            def go_on() -> None:
                if busy and not done.done():
                    loop.call_soon(go_on)

            go_on()
            for number, (protocol, peer) in enumerate(connections):
                protocol.always = partial(note, number)
                peer.sock.sendall(bytes(BULK_BYTES))
            await done
            in_turns = {protocol.received_in[-1] for protocol, _ in connections}
            assert len(in_turns) == 1, in_turns

    run(loop, main())


@only_on("loopx")
def test_one_poll_goes_on_as_long_as_bulk_does(loop: asyncio.AbstractEventLoop) -> None:
    """To end it every so often would have each such message wait two turns."""

    async def main() -> None:
        async with settled_connections(1) as connections:
            (protocol, peer) = connections[0]
            submissions = []
            for _ in range(3):                 # another process may keep us from it for 0.05 s
                await settle(protocol, peer)
                before = loop.stats()["submissions"]
                ends_at = loop.time() + 0.3
                while loop.time() < ends_at:
                    await settle(protocol, peer)
                submissions.append(loop.stats()["submissions"] - before)
            assert min(submissions) < 2, submissions

    run(loop, main())


class Collecting:
    """A connection that is used to bulk, two that can do something before it is served, and what
    has the loop collect completions at once."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.stack = stack

    async def begin(self) -> None:
        enter = self.stack.enter_async_context
        self.others = [await enter(with_peer(Recorder)) for _ in range(24)]
        self.first, self.first_peer = await enter(with_peer(Acting))
        self.second, self.second_peer = await enter(with_peer(Acting))
        self.protocol, self.peer = await enter(with_peer(Acting))
        await settle(self.protocol, self.peer)
        self.peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocol.received_in.clear()

    def send(self) -> None:
        self.peer.sock.sendall(bytes(BULK_BYTES))

    def collect(self) -> None:
        """Over 256 KiB: they leave at once, and completions are collected."""
        for _ in range(12):
            other, _ = self.others.pop()
            other.transport.write(bytes(30_000))


def run_collecting(
    loop: asyncio.AbstractEventLoop, act: Callable[[Collecting], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            collecting = Collecting(stack)
            await collecting.begin()
            await act(collecting)

    for _ in range(5):
        run(loop, main())


@only_on("loopx")
@pytest.mark.usefixtures("never_anew")
def test_a_message_told_of_twice_brings_the_next_one_no_earlier(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Its two pieces are collected apart, and received together; the next one comes meanwhile."""

    async def act(on: Collecting) -> None:
        def send_in_two_pieces() -> None:
            for _ in range(2):
                on.send()
                on.collect()

        on.first.to_do = [send_in_two_pieces]
        on.protocol.to_do = [on.send]
        on.first_peer.sock.sendall(b"x")
        assert await on.protocol.read(3 * BULK_BYTES) == bytes(3 * BULK_BYTES)
        assert on.protocol.received_in[1] > on.protocol.received_in[0]
        assert len(on.protocol.received_in) == 2

    run_collecting(loop, act)


@only_on("loopx")
@pytest.mark.usefixtures("never_anew")
def test_the_end_is_told_where_it_was_collected_before_the_last_data_was_received(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def act(on: Collecting) -> None:
        def send_and_end() -> None:
            on.send()
            on.collect()
            on.peer.half_close()
            on.collect()

        on.first.to_do = [send_and_end]
        on.first_peer.sock.sendall(b"x")
        await on.protocol.ended
        assert await on.protocol.read(BULK_BYTES) == bytes(BULK_BYTES)
        await turns(20)
        assert on.protocol.calls.count("eof_received") == 1

    run_collecting(loop, act)


@only_on("loopx")
@pytest.mark.usefixtures("never_anew")
def test_one_poll_goes_on_where_a_piece_came_with_the_one_before(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """It is told of when it has been received: that shows nothing that was overlooked."""

    async def act(on: Collecting) -> None:
        def send_to_both() -> None:
            on.second_peer.sock.sendall(b"x")
            on.send()
            on.collect()

        on.first.to_do = [send_to_both]
        on.second.to_do = [on.send]               # served before the protocol
        on.first_peer.sock.sendall(b"x")
        assert await on.protocol.read(2 * BULK_BYTES) == bytes(2 * BULK_BYTES)
        assert len(on.protocol.received_in) == 1
        before = loop.stats()
        await turns(20)
        after = loop.stats()
        assert after["system_calls"] - after["enters"] > before["system_calls"] - before["enters"]
        assert after["submissions"] == before["submissions"]

    run_collecting(loop, act)
