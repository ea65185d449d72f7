"""Waits that go on for more of what several peers stream, and what they must not delay.

loopx only: asyncio's loop has none. Each piece is sent once the one before was received, so that
between any two the loop waits, however quick the machine is.
Thread: the protocols' is the loop's; who sends blocks in a thread of its own.
"""

import asyncio
import gc
import math
import os
import signal
import socket
import threading
from socket import MSG_DONTWAIT

import pytest

from tests.support.loops import require_loopx
from tests.support.net import TIMEOUT_S, run, tcp_pair

require_loopx()

import loopx  # noqa: E402
from loopx.ring.control import RingControl  # noqa: E402

PIECE = b"p" * 49_152            # one segment of a loopback connection
PIECES = 600                     # of which the first 342 are timed without batches
MIN_TIMEOUT = 1 << 15            # IORING_FEAT_MIN_TIMEOUT, <linux/io_uring.h>


@pytest.fixture
def loop():
    made = loopx.new_event_loop()
    yield made
    made.close()


class Receiver(asyncio.Protocol):
    """Counts what it is given and tells of each whole piece; answers it, if it is to."""

    came_late = None
    calls_at, to_call = math.inf, None         # after how many bytes, and what
    longest = 0                                # of what it was given

    def __init__(self, came, answers):
        self.came, self.answers, self.length = came, answers, 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        before, self.length = self.length, self.length + len(data)
        self.longest = max(self.longest, len(data))
        if before < self.calls_at <= self.length:
            self.to_call()
        for _ in range(self.length // len(PIECE) - before // len(PIECE)):
            if self.answers:
                self.transport.write(b"thanks")
            self.came.release()
        if self.came_late is not None and not self.came_late.done():
            self.came_late.set_result(None)


class Senders:
    """Connections to receivers, which are sent to in turns, a piece at a time."""

    def __init__(self, count, answers):
        self.came = threading.Semaphore(0)
        self.pairs = [tcp_pair() for _ in range(count)]
        self.receivers = [Receiver(self.came, answers) for _ in range(count)]

    async def connect(self):
        loop = asyncio.get_running_loop()
        for receiver, (ours, _theirs) in zip(self.receivers, self.pairs, strict=True):
            await loop.connect_accepted_socket(lambda made=receiver: made, ours)

    def send_pieces(self, count=PIECES):
        for number in range(count):
            _ours, theirs = self.pairs[number % len(self.pairs)]
            theirs.sendall(PIECE)
            assert self.came.acquire(timeout=TIMEOUT_S)

    def close(self):
        for receiver in self.receivers:
            receiver.transport.abort()
        for ours, theirs in self.pairs:
            ours.close()
            theirs.close()


async def batches_of(loop, count, *, answers=False, then=None):
    """How many waits were for a batch while so many senders sent; `then` goes on from there."""
    senders = Senders(count, answers)
    await senders.connect()
    try:
        before = loop.stats()["batches"]
        await asyncio.to_thread(senders.send_pieces)
        batches = loop.stats()["batches"] - before
        if then is not None:
            await then(senders)
        assert sum(one.length for one in senders.receivers) >= PIECES * len(PIECE)
        return batches
    finally:
        senders.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [2, 4])
def test_several_who_stream_are_waited_for_together(loop, count):
    assert run(loop, batches_of(loop, count)) > PIECES // 10


def test_one_who_streams_alone_is_not(loop):
    assert run(loop, batches_of(loop, 1)) == 0


def test_who_is_answered_is_not(loop):
    assert run(loop, batches_of(loop, 4, answers=True)) == 0


@pytest.mark.parametrize("count, longest", [(1, 262_144), (2, 65_536)])
def test_less_is_taken_at_a_time_of_what_several_stream(loop, count, longest):
    """Of a megabyte, which is there before any of it is received. Two may seem to have stopped, now
    and then, as the machine does something else."""
    all_longest = []

    async def send_much(senders):
        receiver, (_ours, theirs) = senders.receivers[0], senders.pairs[0]
        sent = []
        receiver.to_call = lambda: sent.append(theirs.send(bytes(1_000_000), MSG_DONTWAIT))
        receiver.longest, receiver.calls_at = 0, receiver.length + 20 * len(PIECE)
        await asyncio.to_thread(senders.send_pieces, 21 * count)
        while receiver.length < receiver.calls_at + sent[0]:
            await asyncio.sleep(0.001)
        all_longest.append(receiver.longest)

    for _ in range(3):
        run(loop, batches_of(loop, count, then=send_much))
    assert min(all_longest) == longest


@pytest.mark.parametrize("has_timer", [False, True])
def test_what_comes_late_ends_such_a_wait(loop, has_timer):
    """The kernel ends one without a timer after its time, with one only for what comes."""

    async def come_late(senders):
        timer = loop.call_later(TIMEOUT_S, int) if has_timer else None
        for number in range(1, 11):
            await asyncio.to_thread(senders.send_pieces, 8)
            for connection in range(2):
                receiver, (_ours, theirs) = senders.receivers[connection], senders.pairs[connection]
                sending = threading.Timer(0.02, theirs.sendall, [b"late"])
                sending.start()
                while receiver.length % len(PIECE) != 4 * number:
                    receiver.came_late = loop.create_future()
                    await receiver.came_late
                sending.join()
        if has_timer:
            timer.cancel()

    run(loop, batches_of(loop, 2, then=come_late))


def test_timers_stay_on_time(loop):
    late = []

    async def tick(senders):
        sending = asyncio.ensure_future(asyncio.to_thread(senders.send_pieces, PIECES))
        before = loop.stats()["batches"]
        while not sending.done():
            due = loop.time() + 0.002
            due_at = loop.create_future()
            loop.call_at(due, due_at.set_result, None)
            await due_at
            late.append(loop.time() - due)
        await sending
        assert loop.stats()["batches"] > before

    run(loop, batches_of(loop, 2, then=tick))
    assert 0 <= min(late)
    assert sorted(late)[len(late) // 2] < 0.002


def test_no_batch_before_a_timer_that_is_due_sooner(loop):
    async def tick(senders):
        sending = asyncio.ensure_future(asyncio.to_thread(senders.send_pieces, PIECES))
        before = loop.stats()["batches"]

        def soon():
            nonlocal timer
            timer = loop.call_later(0.00005, soon)

        timer = loop.call_soon(soon)
        await sending
        timer.cancel()
        # Now and then another is due shortly after it, and they share a later wake-up.
        assert loop.stats()["batches"] - before < PIECES // 40

    run(loop, batches_of(loop, 2, then=tick))


def test_signals_and_other_threads_end_such_a_wait(loop):
    """While pieces go on coming, one after the other is told of."""

    async def interrupt(senders):
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, told.set)
        sending = asyncio.ensure_future(asyncio.to_thread(senders.send_pieces, PIECES))
        try:
            for _ in range(20):
                told.clear()
                await asyncio.to_thread(os.kill, os.getpid(), signal.SIGUSR1)
                await told.wait()
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
            await sending

    run(loop, batches_of(loop, 2, then=interrupt))


def drop_the_feature():
    """As on Linux before 6.12, whose kernel refuses such a wait."""
    for one in gc.get_objects():
        if isinstance(one, RingControl) and one.fd >= 0:
            one._ring.features &= ~MIN_TIMEOUT


def test_older_kernels_wait_as_ever(loop):
    async def on_an_older_kernel():
        await asyncio.sleep(0.001)             # a loop makes its ring when it first waits
        drop_the_feature()
        return await batches_of(loop, 4)

    assert run(loop, on_an_older_kernel()) == 0


def test_unix_sockets_are_not_waited_for(loop):
    """They hold 208 KiB: who sends would soon stand still."""

    async def by_unix_sockets():
        senders = Senders(0, False)
        senders.pairs = [socket.socketpair() for _ in range(2)]
        senders.receivers = [Receiver(senders.came, False) for _ in range(2)]
        await senders.connect()
        try:
            await asyncio.to_thread(senders.send_pieces)
            return loop.stats()["batches"]
        finally:
            senders.close()
            await asyncio.sleep(0)

    assert run(loop, by_unix_sockets()) == 0
