"""loop.stats(): what it counts, and that a turn costs one system call.

loopx only: asyncio's loop counts nothing.  The clients are a process of their own.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys

import pytest

from tests.support.children import environment
from tests.support.loops import require_loopx, run_once, run_turns
from tests.support.net import Peer, run, serving, tcp_pair, turns
from tests.support.recorders import Echo
from tests.support.threads import Elsewhere

require_loopx()

import loopx  # noqa: E402

KEYS = {
    "turns",
    "callbacks",
    "submissions",
    "system_calls",
    "enters",
    "completions",
    "spins",
    "operations_in_flight",
    "ready",
    "timers",
}
# Handing the work to a thread and being woken by it, twice.
EXTRA_CALLS = 8


@pytest.fixture
def loop():
    made = loopx.new_event_loop()
    yield made
    made.close()
    assert made.stats()["operations_in_flight"] == 0


def difference(after, before):
    return {name: after[name] - before[name] for name in KEYS}


def test_the_keys_are_there_and_count_from_zero(loop):
    stats = loop.stats()
    assert set(stats) >= KEYS
    assert all(isinstance(stats[name], int) for name in KEYS)
    assert all(stats[name] == 0 for name in KEYS)


def test_stats_are_a_copy(loop):
    before = dict(loop.stats())
    stats = loop.stats()
    run_once(loop)
    assert {name: stats[name] for name in KEYS} == before


def test_turns_and_callbacks(loop):
    run_once(loop)
    before = loop.stats()
    for _ in range(10):
        loop.call_soon(int)
    run_turns(loop, 3)
    passed = difference(loop.stats(), before)
    assert passed["turns"] == 3
    assert passed["callbacks"] == 13


def test_ready_and_timers_are_what_waits(loop):
    for _ in range(5):
        loop.call_soon(int)
    handles = [loop.call_later(1000, int) for _ in range(7)]
    assert (loop.stats()["ready"], loop.stats()["timers"]) == (5, 7)
    for handle in handles[:3]:
        handle.cancel()
    run_once(loop)
    assert (loop.stats()["ready"], loop.stats()["timers"]) == (0, 4)


def test_cancelled_timers_do_not_pile_up(loop):
    for _ in range(100_000):
        loop.call_later(1000, int).cancel()
    run_once(loop)
    assert loop.stats()["timers"] == 0


def test_callbacks_alone_cost_no_system_call(loop):
    run_once(loop)
    before = loop.stats()
    left = 5000

    def again():
        nonlocal left
        left -= 1
        loop.call_soon(again if left else loop.stop)

    loop.call_soon(again)
    loop.run_forever()
    passed = difference(loop.stats(), before)
    assert passed["turns"] >= 5000
    # A look at the ring now and then is allowed, one a turn is not.
    assert passed["system_calls"] <= passed["turns"] // 10


def test_in_flight_follows_the_operations(loop):
    async def main():
        ours, theirs = tcp_pair()
        with ours, theirs:
            ours.setblocking(False)
            idle = loop.stats()["operations_in_flight"]
            task = loop.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0.01)
            during = loop.stats()["operations_in_flight"]
            theirs.send(b"x")
            assert await task == b"x"
            await asyncio.sleep(0.01)
            return during - idle, loop.stats()["operations_in_flight"] - idle

    assert run(loop, main()) == (1, 0)


@pytest.mark.parametrize("name", ["sock_recv", "sock_recv_into", "sock_sendall"])
def test_calls_of_sock_methods_that_waited(loop, name):
    """The first attempt is not counted, the one after the wait is."""

    async def main():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            peer = Peer(theirs)
            if name == "sock_sendall":
                Peer(ours).fill()
                ours.setblocking(False)
            argument = {"sock_recv": 10, "sock_recv_into": bytearray(10), "sock_sendall": b"x"}
            task = loop.create_task(getattr(loop, name)(ours, argument[name]))
            await turns()
            before = loop.stats()
            if name == "sock_sendall":
                await peer.recv(1 << 20)
            else:
                await peer.send(b"x")
            await task
            passed = difference(loop.stats(), before)
            return passed["system_calls"] - passed["enters"]

    assert run(loop, main()) == 1


class PlainEcho(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Client:
    """The process that plays all the clients, told by lines what to do next."""

    def __init__(self, address, connections, rounds, size_bytes):
        numbers = [str(number) for number in (address[1], connections, rounds, size_bytes)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.echo_client", address[0], *numbers],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, word):
        assert self.process.stdout.readline() == word + "\n"

    def run_rounds(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.wait_for("done")

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)


@pytest.mark.parametrize("connections", [8, 64])
def test_one_system_call_a_turn(loop, connections):
    rounds = 200

    async def main():
        async with serving(PlainEcho) as served:
            client = Client(served.address, connections, rounds, 1024)
            try:
                await asyncio.to_thread(client.wait_for, "connected")
                # Once for what is set up on the way, and then what is counted.
                await asyncio.to_thread(client.run_rounds)
                before = loop.stats()
                await asyncio.to_thread(client.run_rounds)
                return difference(loop.stats(), before)
            finally:
                await asyncio.to_thread(client.end)

    passed = run(loop, main(), 50)
    messages = connections * rounds
    assert passed["completions"] >= messages
    # A call more for 20 completions or more, when the kernel has others left.
    more = passed["completions"] // 20 if connections >= 20 else 0
    calls = passed["turns"] + more + EXTRA_CALLS
    assert passed["enters"] <= calls, passed
    # With next to no connections a lone send goes by send(2); here none does.
    assert passed["system_calls"] <= calls, passed
    # Batching is the point: fewer than a wait, a receive and a send for each message.
    assert passed["enters"] <= messages + EXTRA_CALLS, passed


async def among_others(loop, protocol, stack):
    """(transport, its peer's socket), with enough other connections for writes to be batched."""
    for factory in [asyncio.Protocol] * 10 + [lambda: protocol]:
        peer, ours = tcp_pair()
        peer.setblocking(False)
        stack.callback(peer.close)
        transport, _ = await loop.connect_accepted_socket(factory, ours)
        stack.callback(transport.abort)
    await turns()
    return transport, peer


def test_no_more_is_received_at_once_than_there_are_buffers(loop):
    """Receives that find none are over, and have to be submitted again."""
    pairs = [socket.socketpair() for _ in range(300)]

    async def main():
        transports = [
            (await loop.connect_accepted_socket(asyncio.Protocol, ours))[0] for _, ours in pairs
        ]
        await asyncio.sleep(0.01)
        before = loop.stats()
        for _ in range(3):
            for peer, _ in pairs:
                peer.send(bytes(4_000))
            await asyncio.sleep(0.01)
        passed = difference(loop.stats(), before)
        for transport in transports:
            transport.close()
        await turns()
        return passed

    with contextlib.ExitStack() as stack:
        for peer, _ in pairs:
            stack.enter_context(peer)
        passed = run(loop, main())
    assert passed["completions"] >= 900
    assert passed["submissions"] < 30, passed


@pytest.mark.parametrize(
    ("received", "length", "calls"),
    [(0, 40_000, 0), (0, 60_000, 1), (20_000, 8_192, 1), (20_000, 8_191, 0)],
)
def test_bulk_is_sent_at_once(loop, received, length, calls):
    """And what is sent to a peer of bulk is bulk from 8 KiB on."""
    async def main():
        with contextlib.ExitStack() as stack:
            transport, peer = await among_others(loop, asyncio.Protocol(), stack)
            peer.send(bytes(received))
            await asyncio.sleep(0.01)
            before = loop.stats()
            transport.write(bytes(length))
            assert difference(loop.stats(), before)["system_calls"] == calls
        await turns()

    run(loop, main())


def test_a_full_socket_is_not_tried_by_each_write(loop):
    async def main():
        with contextlib.ExitStack() as stack:
            transport, _ = await among_others(loop, asyncio.Protocol(), stack)
            transport.set_write_buffer_limits(1 << 30)
            transport.write(bytes(20_000_000))          # more than it takes
            before = loop.stats()
            for _ in range(1_000):
                transport.write(bytes(1_000))
            assert difference(loop.stats(), before)["system_calls"] == 0
        await turns()

    run(loop, main())


@pytest.mark.parametrize(("length", "bulk"), [(2_000, False), (12_000, True)])
def test_8_kib_are_received_by_calls_of_their_own(loop, length, bulk):
    async def main():
        with contextlib.ExitStack() as stack:
            protocol = Echo()
            protocol.data_received = lambda data: None
            _, peer = await among_others(loop, protocol, stack)
            before = loop.stats()
            for _ in range(20):
                peer.send(bytes(length))
                await asyncio.sleep(0.002)
            passed = difference(loop.stats(), before)
            assert (passed["system_calls"] - passed["enters"] > 10) == bulk
        await turns()

    run(loop, main())


def test_idle_time_costs_no_turns(loop):
    run(loop, asyncio.sleep(0.01))
    before = loop.stats()
    run(loop, asyncio.sleep(0.3))
    assert difference(loop.stats(), before)["turns"] < 20


def test_waking_from_threads_is_latched(loop):
    """A burst of calls from a thread costs the loop few turns."""
    seen = []

    def burst():
        for number in range(10_000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    run_once(loop)
    before = loop.stats()
    with Elsewhere(burst):
        loop.run_forever()
    assert seen == list(range(10_000))
    assert difference(loop.stats(), before)["turns"] < 5000


def test_a_write_that_the_kernel_takes_at_once_leaves_nothing_in_flight(loop):
    async def main():
        ours, theirs = tcp_pair()
        with theirs:
            transport, protocol = await loop.create_connection(Echo, sock=ours)
            await asyncio.sleep(0.01)
            reading = loop.stats()["operations_in_flight"]
            transport.write(b"x" * 100)
            await asyncio.to_thread(theirs.recv, 100)
            await asyncio.sleep(0.01)
            assert loop.stats()["operations_in_flight"] == reading
            transport.close()
            await protocol.lost

    run(loop, main())
