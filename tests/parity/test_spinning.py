"""loop.spin_us: looking for I/O before sleeping.

loopx only: asyncio's loop always sleeps at once.  What may be spun for is there before the wait, so
that no test depends on how quick another thread is.
"""

import asyncio
import ctypes
import gc
import itertools
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.support.children import environment
from tests.support.loops import require_loopx
from tests.support.net import run, tcp_pair, turns

require_loopx()

import loopx  # noqa: E402
from loopx.ring.control import RingControl  # noqa: E402

SQ_TASKRUN = 1 << 2             # IORING_SQ_TASKRUN, <linux/io_uring.h>
LONG_US = 1_000
TIMES = 100


@pytest.fixture
def loop():
    made = loopx.new_event_loop()
    yield made
    made.close()


def printed(code, **variables):
    return subprocess.run(
        [sys.executable, "-c", code], env=environment() | variables, capture_output=True, text=True,
    )


async def called_often(loop, times=TIMES):
    """Watch a socket that can be read all the time: every wait is over at once."""
    ours, theirs = tcp_pair()
    theirs.send(b"unread")
    done = asyncio.Event()
    calls = itertools.count(1)
    loop.add_reader(ours, lambda: next(calls) < times or done.set())
    try:
        await done.wait()
    finally:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


async def answered_soon(loop, times):
    """Wait for something that comes shortly after the loop began to wait, again and again."""
    timer = Timer()
    try:
        for _ in range(times):
            answered = loop.create_future()
            loop.add_reader(timer.fd, answered.set_result, None)
            timer.set(LONG_US // 20)
            await answered
            loop.remove_reader(timer.fd)
    finally:
        timer.close()


def spins_of(loop):
    run(loop, answered_soon(loop, TIMES))
    return loop.stats()["spins"]


@pytest.mark.parametrize("us", [0, 0.5, 30, LONG_US])
def test_the_property_is_what_was_set(loop, us):
    loop.spin_us = us
    assert loop.spin_us == us


@pytest.mark.parametrize("us", [-1, LONG_US + 1, float("nan"), float("inf")])
def test_what_is_no_time_is_refused(loop, us):
    before = loop.spin_us
    with pytest.raises(ValueError, match="spin_us must be from 0"):
        loop.spin_us = us
    assert loop.spin_us == before


def test_it_is_60_unless_there_is_one_core():
    code = "import loopx; print(loopx.new_event_loop().spin_us)"
    expected = 60.0 if os.cpu_count() > 1 else 0.0
    assert float(printed(code, LOOPX_SPIN_US="").stdout or "nan") == expected


def test_the_environment_sets_what_loops_begin_with():
    code = "import loopx; print(loopx.new_event_loop().spin_us)"
    assert printed(code, LOOPX_SPIN_US="12.5").stdout.strip() == "12.5"


@pytest.mark.parametrize("text", ["-1", "much", "2000"])
def test_nonsense_in_the_environment_names_the_variable(text):
    result = printed("import loopx", LOOPX_SPIN_US=text)
    assert result.returncode == 1
    assert "LOOPX_SPIN_US must be from 0" in result.stderr


def test_quick_waits_are_spun_for(loop):
    loop.spin_us = LONG_US
    assert spins_of(loop) > TIMES / 2


def test_no_spin_at_0(loop):
    loop.spin_us = 0
    assert spins_of(loop) == 0


def test_waits_that_are_long_are_not_spun_for(loop):
    loop.spin_us = LONG_US

    async def sleep_often():
        for _ in range(20):
            await asyncio.sleep(5 * LONG_US / 1e6)

    run(loop, sleep_often())
    assert loop.stats()["spins"] == 0


def make_it_spin(loop):
    """Quick waits, so that the next one begins with a spin."""
    loop.spin_us = LONG_US
    spins_of(loop)


def test_a_callback_of_another_thread_ends_a_spin(loop):
    make_it_spin(loop)
    called = []

    async def be_called():
        done = asyncio.Event()
        for _ in range(50):
            done.clear()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,))
            thread.start()
            await done.wait()
            thread.join()
            called.append(True)

    run(loop, be_called())
    assert len(called) == 50


def test_a_timer_is_not_late_for_a_spin(loop):
    make_it_spin(loop)

    async def sleep_shortly():
        late = []
        for _ in range(50):
            due = loop.time() + LONG_US / 4e6
            woken = loop.create_future()
            loop.call_at(due, woken.set_result, None)
            await woken
            late.append(loop.time() - due)
        return min(late)

    assert 0 <= run(loop, sleep_shortly()) < LONG_US / 2e6


def test_time_spent_spinning_is_cpu_time_and_short(loop):
    """A loop that waits for long after quick answers uses no more than a few spins."""
    make_it_spin(loop)
    before = time.thread_time()
    run(loop, asyncio.sleep(0.2))
    assert time.thread_time() - before < 0.1


def kernel_flags(loop):
    """The word in which the kernel says that it has work: `sq.kflags` of the loop's ring."""
    [control] = [one for engine in gc.get_referents(loop) for one in gc.get_referents(engine)
                 if isinstance(one, RingControl)]
    pointers = (ctypes.c_void_p * 5).from_address(control.address)
    return ctypes.c_uint.from_address(pointers[4])


@pytest.mark.parametrize("wakes", [True, False], ids=["a thread", "a timer"])
def test_a_flag_without_work_behind_it_lets_the_loop_sleep(loop, wakes):
    """The kernel may set it after that work was done: it stays, until there is more."""
    make_it_spin(loop)

    async def wait_with_the_flag():
        await called_often(loop, 50)
        await turns(5)
        before = loop.stats()
        kernel_flags(loop).value |= SQ_TASKRUN
        done = loop.create_future()
        if wakes:
            # It needs the interpreter for this, which a loop that does not sleep would keep.
            threading.Timer(0.1, loop.call_soon_threadsafe, (done.set_result, None)).start()
        else:
            loop.call_later(0.1, done.set_result, None)
        await done
        after = loop.stats()
        assert after["spins"] > before["spins"]        # or the flag was not looked at
        return after["turns"] - before["turns"]

    assert run(loop, wait_with_the_flag()) < 20


async def spun_us(loop, answer_us, due_us=None):
    """Wait for an answer of the kernel's: the CPU time of the wait, in microseconds."""
    timer = Timer()
    answered = loop.create_future()
    loop.add_reader(timer.fd, lambda: answered.done() or answered.set_result(None))
    try:
        await called_often(loop, 50)          # quick waits: the next one may begin with a spin
        await turns(5)                        # nothing is left of them
        timer.set(answer_us)
        if due_us is not None:
            loop.call_later(due_us / 1e6, answered.set_result, None)
        before = time.thread_time_ns()
        await answered
        return (time.thread_time_ns() - before) / 1_000
    finally:
        loop.remove_reader(timer.fd)
        timer.close()


class Timer:
    """A descriptor that can be read after a while: timerfd_create(2), in os since Python 3.13."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())

    def set(self, us):
        spec = (ctypes.c_long * 4)(0, 0, 0, us * 1_000)
        assert self.libc.timerfd_settime(self.fd, 0, spec, None) == 0

    def close(self):
        os.close(self.fd)


def spins_us(loop, *arguments, rounds=20):
    """The spins of several rounds, sorted: other processes make one shorter, and work longer."""
    spun = []
    for _ in range(rounds):
        loop.spin_us = LONG_US                # forgets those that were in vain
        spun.append(run(loop, spun_us(loop, *arguments)))
    return sorted(spun)


def test_an_answer_is_spun_for(loop):
    assert spins_us(loop, LONG_US * 3 // 4)[-1] > LONG_US // 2


def test_a_spin_ends_at_the_limit(loop):
    spun = spins_us(loop, LONG_US * 3 // 2)
    assert LONG_US * 3 // 4 < spun[-1] and spun[10] < LONG_US * 5 // 4


def test_a_spin_with_many_connections_is_shorter(loop):
    pairs = [tcp_pair() for _ in range(10)]
    for ours, _ in pairs:
        loop.add_reader(ours, int)
    try:
        spun = spins_us(loop, LONG_US * 3 // 4)
    finally:
        for ours, theirs in pairs:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()
    assert LONG_US // 4 < spun[-1] and spun[10] < LONG_US // 2


def test_what_a_timer_will_end_before_the_spin_is_slept_through(loop):
    assert spins_us(loop, 100 * LONG_US, LONG_US * 3 // 4)[0] < LONG_US // 2


ASK_ON_CORE = """
import os, socket, sys
os.sched_setaffinity(0, {int(sys.argv[2])})
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(int(sys.argv[3])):
        connection.sendall(b"question")
        assert connection.recv(100)
"""


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def test_a_peer_on_the_same_core_is_given_way_to(loop):
    """It answers a loop that sleeps, and one that spins only after the scheduler stopped that."""
    questions = 10_000
    cores = os.sched_getaffinity(0)

    async def answer():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        asking = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASK_ON_CORE, str(port), str(min(cores)), str(questions)
        )
        assert await asking.wait() == 0
        server.close()

    os.sched_setaffinity(0, {min(cores)})
    try:
        loop.spin_us = 60
        run(loop, answer())
    finally:
        os.sched_setaffinity(0, cores)
    assert loop.stats()["spins"] < questions / 10
