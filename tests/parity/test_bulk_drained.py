"""Bulk that is more than one receive brings: what its protocol, or the loop's user, has to do.

Owns: a connection whose socket holds several pieces, and what its protocol does at the first.
Thread: the test's own; the peers' sockets are written to from there.
Runs on asyncio and on loopx.
"""

import asyncio
import contextlib
import threading

import pytest

from tests.support.bulk import never_anew  # noqa: F401
from tests.support.interruptions import Interruption, Misdeed, run_through
from tests.support.net import Peer, only_on, run, turns
from tests.support.pieces import (
    DATA,
    Buffered,
    Piecewise,
    Plain,
    all_came,
    each_protocol,
    whole,
    with_bulk,
)


@only_on("loopx")
@each_protocol
def test_what_nobody_else_waits_for_is_received_in_one_turn(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    """asyncio receives once a turn."""

    async def main() -> None:
        async with with_bulk(factory) as (protocol, _peer):
            assert await whole(protocol) == DATA
            assert len(protocol.turns) > 1
            assert len(set(protocol.turns)) == 1, protocol.turns

    run(loop, main())


@each_protocol
@pytest.mark.parametrize("by", ["itself", "a thread"])
def test_a_callback_goes_before_the_rest(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], by: str
) -> None:
    async def main() -> None:
        def act(protocol: Piecewise) -> None:
            if by == "itself":
                loop.call_soon(protocol.log.append, "called")
                return
            thread = threading.Thread(
                target=loop.call_soon_threadsafe, args=(protocol.log.append, "called"))
            thread.start()
            thread.join()

        async with with_bulk(factory, act) as (protocol, _peer):
            await all_came(protocol, protocol.log, "called")

    run(loop, main())


@each_protocol
def test_a_pause_ends_it(loop: asyncio.AbstractEventLoop, factory: type[Piecewise]) -> None:
    async def main() -> None:
        async with with_bulk(factory, lambda one: one.transport.pause_reading()) as (protocol, _):
            await asyncio.sleep(0.05)
            assert protocol.log == ["piece"]
            protocol.transport.resume_reading()
            assert await whole(protocol) == DATA

    run(loop, main())


@each_protocol
@pytest.mark.parametrize("ending", ["close", "abort", "an exception"])
def test_nothing_comes_after_the_end(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], ending: str
) -> None:
    loop.set_exception_handler(lambda _loop, context: None)

    async def main() -> None:
        def act(protocol: Piecewise) -> None:
            if ending == "an exception":
                raise Misdeed
            getattr(protocol.transport, ending)()

        async with with_bulk(factory, act) as (protocol, _peer):
            assert isinstance(await protocol.lost, Misdeed) == (ending == "an exception")
            await turns(5)
            assert protocol.log == ["piece"]

    run(loop, main())


@each_protocol
def test_a_loop_that_stops_gets_the_rest_when_it_runs_again(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def begin() -> Piecewise:
        bulk = with_bulk(factory, lambda _protocol: loop.stop(), resumed=False)
        protocol, _peer = await stack.enter_async_context(bulk)
        return protocol

    stack = contextlib.AsyncExitStack()
    protocol = run(loop, begin())
    protocol.transport.resume_reading()
    loop.run_forever()
    assert protocol.log == ["piece"]
    assert run(loop, whole(protocol)) == DATA
    run(loop, stack.aclose())


@each_protocol
def test_an_interruption_leaves_the_rest_for_later(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        def act(_protocol: Piecewise) -> None:
            raise Interruption

        async with with_bulk(factory, act) as (protocol, _peer):
            assert await whole(protocol) == DATA

    _, times = run_through(loop, main())
    assert times == 1


@pytest.mark.parametrize("factory", [Plain, Buffered])
@pytest.mark.parametrize("other", [Plain, Buffered])
def test_the_rest_goes_to_the_protocol_that_was_set(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise], other: type[Piecewise]
) -> None:
    async def main() -> None:
        second = other()
        async with with_bulk(factory, lambda one: one.transport.set_protocol(second)) as (first, _):
            first_length = 0
            while first_length + len(second.buffer) < len(DATA):
                await asyncio.sleep(0.01)
                first_length = len(first.buffer)
            assert first.log == ["piece"]
            assert first.buffer + second.buffer == DATA
            second.transport = first.transport
            first.transport.set_protocol(first)

    run(loop, main())


@pytest.mark.usefixtures("never_anew")
@each_protocol
def test_the_end_behind_it_is_told_once(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    async def main() -> None:
        async with with_bulk(factory) as (protocol, peer):
            peer.half_close()
            while "eof_received" not in protocol.calls:
                await asyncio.sleep(0.005)     # a waiter for it would be ready, and go first
            assert await whole(protocol) == DATA
            assert protocol.calls.count("eof_received") == 1

    run(loop, main())


@only_on("loopx")
@each_protocol
def test_who_answers_what_comes_takes_turns(
    loop: asyncio.AbstractEventLoop, factory: type[Piecewise]
) -> None:
    """asyncio receives once a turn, whoever it is."""

    async def main() -> None:
        def answer(protocol: Piecewise) -> None:
            protocol.transport.write(b"a" * 100_000)
            protocol.at_first = lambda: answer(protocol)

        async with with_bulk(factory, answer) as (protocol, peer):
            assert await whole(protocol) == DATA
            assert len(set(protocol.turns)) == len(protocol.turns)
            await peer.recv_exactly(100_000 * len(protocol.turns))

    run(loop, main())
