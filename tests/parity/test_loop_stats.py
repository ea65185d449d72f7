"""loop.stats(): what it counts, and that a turn costs one system call.

loopx only: asyncio's loop counts nothing.
"""

import asyncio
import contextlib
import select
import socket
import time

import pytest

from tests.support.loops import require_loopx, run_once, run_turns
from tests.support.net import Peer, run, serving, tcp_pair, turns
from tests.support.recorders import Echo
from tests.support.threads import HAS_GIL, Elsewhere

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
    "batches",
    "operations_in_flight",
    "ready",
    "timers",
}


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


@contextlib.asynccontextmanager
async def served_and_peers(loop, family, connections, path):
    """The other ends of that many connections to an echo server, not blocking."""
    address = path
    if family == socket.AF_UNIX:
        server = await loop.create_unix_server(PlainEcho, path)
    else:
        server = await loop.create_server(PlainEcho, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.socket(family)) for _ in range(connections)]
        for peer in peers:
            peer.connect(address)
            peer.setblocking(False)
        yield peers
    server.close()
    await turns()


async def answered(loop, family, connections, path):
    """Counts of rounds in which each connection has a message before the loop looks for any."""
    async with served_and_peers(loop, family, connections, path) as peers:
        for _counted in (False, True):         # once for what is set up on the way
            before = loop.stats()
            for _ in range(ROUNDS):
                for peer in peers:
                    peer.send(b"m" * 100)
                for peer in peers:
                    while not has_data(peer):
                        await asyncio.sleep(0)
                    assert peer.recv(200) == b"m" * 100
        return difference(loop.stats(), before)


def has_data(sock):
    return bool(select.select([sock], [], [], 0)[0])


ROUNDS = 100


@pytest.mark.parametrize(
    ("family", "connections"),
    [(socket.AF_INET, 8), (socket.AF_INET, 64), (socket.AF_UNIX, 64)],
)
def test_what_a_turn_writes_leaves_with_one_call(loop, family, connections, tmp_path):
    passed = run(loop, answered(loop, family, connections, str(tmp_path / "socket")), 50)
    assert passed["completions"] >= connections * ROUNDS
    # With next to no connections a lone send goes by send(2); here none does.
    assert passed["system_calls"] == passed["enters"], passed
    # One to collect, one to submit, one for 20 completions that the kernel left, and one where what
    # was sent did not come all at once.
    assert passed["enters"] <= ROUNDS * (3 + connections // 20), passed


def test_on_unix_sockets_what_is_written_soon_for_few_leaves_at_once(loop, tmp_path):
    """Not all of them, as a turn may take long."""
    connections = 10
    passed = run(loop, answered(loop, socket.AF_UNIX, connections, str(tmp_path / "socket")), 50)
    sends = passed["system_calls"] - passed["enters"]
    assert 0 < sends <= connections * ROUNDS, passed


def test_on_unix_sockets_what_is_written_late_waits_for_the_turn(loop, tmp_path):
    async def main():
        async with served_and_peers(loop, socket.AF_UNIX, 10, str(tmp_path / "socket")) as peers:
            slow = PlainEcho.data_received
            PlainEcho.data_received = lambda self, data: (time.sleep(0.001), slow(self, data))
            try:
                await turns()
                before = loop.stats()
                peers[0].send(b"m" * 100)
                while not has_data(peers[0]):
                    await asyncio.sleep(0)
                return difference(loop.stats(), before)
            finally:
                PlainEcho.data_received = slow

    passed = run(loop, main())
    assert passed["system_calls"] == passed["enters"], passed


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
    # Without a GIL the loop looks for them while the thread goes on.
    assert difference(loop.stats(), before)["turns"] < (5000 if HAS_GIL else 10_000)


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
