"""Nobody starves: busy callbacks, long callbacks, and much input beside timers.

Runs on asyncio and on loopx; peers that must not depend on the loop run on threads.
"""

import asyncio
import socket
import time

import pytest

from tests.support.net import Peer, connected, run, serving, tcp_pair
from tests.support.recorders import Echo
from tests.support.threads import Elsewhere

SPIN_S = 2.0
BOUND_S = 10.0


def spin(duration_s):
    end_s = time.monotonic() + duration_s
    while time.monotonic() < end_s:
        pass


class Busy:
    """A callback that schedules itself again for ever: there is always something ready."""

    def __init__(self, loop, copies=3):
        self.loop = loop
        self.rounds = 0
        self.stopped = False
        for _ in range(copies):
            loop.call_soon(self.step)

    def step(self):
        self.rounds += 1
        if not self.stopped:
            self.loop.call_soon(self.step)


def test_a_busy_loop_serves_timers(loop):
    busy = Busy(loop)
    seen = []
    for delay_s in (0.03, 0.01, 0.02):
        loop.call_later(delay_s, seen.append, delay_s)
    loop.call_later(0.04, loop.stop)
    started_s = time.monotonic()
    loop.run_forever()
    busy.stopped = True
    assert seen == [0.01, 0.02, 0.03]
    assert time.monotonic() - started_s < 1.0
    assert busy.rounds > 100


def test_a_busy_loop_serves_connections(loop):
    async def main():
        busy = Busy(loop)
        async with serving(Echo) as served:
            reader, writer = await asyncio.open_connection(*served.address)
            for number in range(50):
                line = b"%d\n" % number
                writer.write(line)
                assert await reader.readline() == line
            writer.close()
            await writer.wait_closed()
        busy.stopped = True
        return busy.rounds

    assert run(loop, main(), BOUND_S) > 50


def test_a_busy_loop_serves_a_peer_outside(loop):
    """The peer is a blocking socket on a thread: nothing but the busy loop turns the loop."""

    def converse(sock):
        for number in range(200):
            message = b"%06d" % number
            sock.sendall(message)
            assert sock.recv(6, socket.MSG_WAITALL) == message

    async def main():
        busy = Busy(loop)
        ours, theirs = tcp_pair()
        with theirs:
            theirs.settimeout(BOUND_S)
            transport, protocol = await loop.create_connection(Echo, sock=ours)
            await asyncio.to_thread(converse, theirs)
            transport.close()
            await protocol.lost
        busy.stopped = True

    run(loop, main(), 2 * BOUND_S)


def test_a_busy_loop_serves_readers(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        seen = []

        def readable():
            seen.append(ours.recv(1))
            if len(seen) == 100:
                loop.stop()
            else:
                theirs.send(b"x")

        busy = Busy(loop)
        loop.add_reader(ours, readable)
        theirs.send(b"x")
        loop.run_forever()
        busy.stopped = True
        loop.remove_reader(ours)
        assert seen == [b"x"] * 100


def test_a_busy_loop_hears_other_threads(loop):
    busy = Busy(loop)
    seen = []

    def call():
        for number in range(1000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    with Elsewhere(call):
        loop.run_forever()
    busy.stopped = True
    assert seen == list(range(1000))


@pytest.mark.parametrize("nap", ["sleep(0)", "call_soon"])
def test_many_ready_tasks_do_not_delay_a_timer(loop, nap):
    async def spinner(stop):
        while not stop.is_set():
            if nap == "sleep(0)":
                await asyncio.sleep(0)
            else:
                future = loop.create_future()
                loop.call_soon(future.set_result, None)
                await future

    async def main():
        stop = asyncio.Event()
        tasks = [loop.create_task(spinner(stop)) for _ in range(100)]
        started_s = loop.time()
        await asyncio.sleep(0.05)
        late_s = loop.time() - started_s - 0.05
        stop.set()
        await asyncio.gather(*tasks)
        return late_s

    assert run(loop, main()) < 0.5


def test_a_callback_of_two_seconds(loop):
    """Timers that came due meanwhile fire in order, data that came meanwhile arrives whole."""
    payload = bytes(range(256)) * 4096  # 1 MiB

    async def main():
        order = []
        async with connected(Echo, Echo) as (client, server):
            # Only one side may echo, or they would go on for ever.
            client.data_received = lambda data: client.note_data("data_received", data)
            for delay_s in (1.5, 0.5, 1.0):
                loop.call_later(delay_s, order.append, delay_s)
            ours, theirs = tcp_pair()
            transport, echo = await loop.create_connection(Echo, sock=ours)
            peer = Peer(theirs)
            sending = asyncio.ensure_future(peer.send(b"from outside"))
            client.transport.write(payload)
            loop.call_soon(spin, SPIN_S)
            await asyncio.sleep(0)
            started_s = loop.time()
            assert await client.read(len(payload)) == payload
            await sending
            assert await peer.recv_exactly(12) == b"from outside"
            while len(order) < 3:
                await asyncio.sleep(0)
            took_s = loop.time() - started_s
            transport.close()
            await echo.lost
            peer.close()
        return order, took_s

    order, took_s = run(loop, main())
    assert order == [0.5, 1.0, 1.5]
    assert took_s < SPIN_S + 2.0


def test_a_callback_of_two_seconds_in_a_protocol(loop):
    async def main():
        class Slow(Echo):
            def data_received(self, data):
                if not self.received_bytes:
                    spin(SPIN_S / 4)
                super().data_received(data)

        async with serving(Slow) as served:
            pairs = [await asyncio.open_connection(*served.address) for _ in range(4)]
            for number, (_, writer) in enumerate(pairs):
                writer.write(b"%d" % number)
            answers = [await reader.readexactly(1) for reader, _ in pairs]
            for _, writer in pairs:
                writer.close()
                await writer.wait_closed()
            return answers

    assert run(loop, main()) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("sockets", [75, 400])
def test_all_that_became_ready_is_served_in_the_next_turns(loop, sockets):
    """Also where the kernel tells of 20 at once, as those served first may be ready again."""
    pairs = [socket.socketpair() for _ in range(sockets)]
    served: list[int] = []

    def serve(number):
        pairs[number][0].recv(10)
        served.append(number)

    async def main():
        for number, (reader, _) in enumerate(pairs):
            loop.add_reader(reader, serve, number)
        for _ in range(3):
            await asyncio.sleep(0.01)          # all of them are being waited for
            served.clear()
            for _, writer in pairs:
                writer.send(b"x")
            for _ in range(3):
                await asyncio.sleep(0)
            assert sorted(served) == list(range(sockets))
        for reader, _ in pairs:
            loop.remove_reader(reader)

    try:
        run(loop, main())
    finally:
        for reader, writer in pairs:
            reader.close()
            writer.close()
