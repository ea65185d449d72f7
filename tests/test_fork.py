"""fork() under a running loop: the child makes its own, the parent's goes on.

os.fork and multiprocessing's 'fork' from a callback, with a server, a connection and a timer
alive.  A child leaves by os._exit and says by its status what it saw.  Runs on asyncio and on
loopx; that the parent's loop refuses the child is loopx's own.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import traceback

import pytest

from tests.support.loops import loop, loop_factory, loop_kind, make_loop  # noqa: F401
from tests.support.net import Peer, only_on, run, tcp_pair
from tests.support.recorders import Echo, Recorder

# Since 3.12 Python warns of fork in a process with threads; here the fork is the point.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

CHILD_TIME_S = 20


def fork(child, *args):
    """Fork, and run `child(*args)` there; the status is 0 if it returned True."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        # Alarms are not inherited: a child that hangs must end by itself.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD_TIME_S)
        status = 0 if child(*args) is True else 2
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


async def reap(pid):
    """Wait for the child while the loop goes on."""
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return os.waitstatus_to_exitcode(status)


async def converse(count=20):
    """A server and a client on the running loop."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for number in range(count):
            line = b"%d\n" % number
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.001)
    return True


def serve_in_the_child(kind):
    loop = make_loop(kind)
    try:
        return loop.run_until_complete(converse())
    finally:
        loop.close()


class Witness:
    """Keeps a connection busy in the parent: each echo asks for the next."""

    async def start(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(Echo, "127.0.0.1", 0)
        address = self.server.sockets[0].getsockname()
        self.reader, self.writer = await asyncio.open_connection(*address)
        self.rounds = 0
        self.task = loop.create_task(self.work())
        await asyncio.sleep(0.001)
        return self

    async def work(self):
        while True:
            line = b"%d\n" % self.rounds
            self.writer.write(line)
            assert await self.reader.readline() == line
            self.rounds += 1

    async def goes_on(self, more=50):
        goal = self.rounds + more
        while self.rounds < goal:
            assert not self.task.done()
            await asyncio.sleep(0.001)
        return True

    async def finish(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        self.writer.close()
        await self.writer.wait_closed()
        self.server.close()
        await self.server.wait_closed()


def under_load(loop, child, *args):
    """Fork from a callback of a loop at work; the parent must go on; returns the exit code."""

    async def main():
        witness = await Witness().start()
        timer = loop.create_future()
        loop.call_later(0.05, timer.set_result, "fired")
        forked = loop.create_future()
        loop.call_soon(lambda: forked.set_result(fork(child, *args)))
        pid = await forked
        assert await witness.goes_on()
        code = await reap(pid)
        assert await timer == "fired"
        assert await witness.goes_on()
        await witness.finish()
        return code

    return run(loop, main(), 50)


def test_the_child_serves_on_a_loop_of_its_own(loop, loop_kind):
    assert under_load(loop, serve_in_the_child, loop_kind) == 0


def test_the_child_drops_the_parents_loop(loop, loop_kind):
    """Every object of the parent's loop is collected in the child, which then serves."""

    def child():
        gc.unfreeze()
        loop.call_soon  # noqa: B018
        serve_in_the_child(loop_kind)
        gc.collect()
        return serve_in_the_child(loop_kind)

    assert under_load(loop, child) == 0


def test_a_child_that_leaves_the_usual_way(loop):
    """Normal interpreter exit in the child, with the parent's loop and transports around."""
    context = multiprocessing.get_context("fork")

    async def main():
        witness = await Witness().start()
        process = context.Process(target=gc.collect)
        process.start()
        await asyncio.to_thread(process.join)
        code = process.exitcode
        process.close()
        assert await witness.goes_on()
        await witness.finish()
        return code

    assert run(loop, main(), 50) == 0


def serve_and_report(kind, pipe):
    pipe.send(serve_in_the_child(kind))
    pipe.close()


def test_multiprocessing_fork_serves(loop, loop_kind):
    context = multiprocessing.get_context("fork")

    async def main():
        witness = await Witness().start()
        receiver, sender = context.Pipe(False)
        processes = [
            context.Process(target=serve_and_report, args=(loop_kind, sender)) for _ in range(3)
        ]
        for process in processes:
            process.start()
        reports = [await asyncio.to_thread(receiver.recv) for _ in processes]
        codes = []
        for process in processes:
            await asyncio.to_thread(process.join)
            codes.append(process.exitcode)
            process.close()
        receiver.close()
        sender.close()
        assert await witness.goes_on()
        await witness.finish()
        return reports, codes

    assert run(loop, main(), 50) == ([True] * 3, [0] * 3)


def test_fork_of_a_loop_that_rests(loop, loop_kind):
    """Made, run once, then forked: the parent runs on, and so does a new loop in the child."""
    run(loop, asyncio.sleep(0))
    pid = fork(serve_in_the_child, loop_kind)
    assert run(loop, converse())
    assert run(loop, reap(pid)) == 0


def test_fork_with_bytes_on_their_way(loop, loop_kind):
    """What the parent has written and not yet sent goes out once, whole."""
    payload = os.urandom(1 << 20) * 4

    async def main():
        received = []

        async def collect(reader, writer):
            received.append(await reader.read(-1))
            writer.close()
            done.set()

        done = asyncio.Event()
        server = await asyncio.start_server(collect, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(payload)
            pid = fork(serve_in_the_child, loop_kind)
            code = await reap(pid)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            await done.wait()
        return received[0], code

    received, code = run(loop, main(), 50)
    assert code == 0
    assert received == payload


REFUSALS = {
    "call_soon": lambda loop: loop.call_soon(int),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(int),
    "call_later": lambda loop: loop.call_later(1, int),
    "run_forever": lambda loop: loop.run_forever(),
    "add_reader": lambda loop: loop.add_reader(0, int),
}


@only_on("loopx")
@pytest.mark.parametrize("name", REFUSALS)
def test_the_parents_loop_refuses_the_child(loop, name):
    """asyncio lets the child use the descriptors that it shares with its parent."""

    def child():
        try:
            REFUSALS[name](loop)
        except RuntimeError:
            return True
        return False

    assert under_load(loop, child) == 0


@only_on("loopx")
def test_forks_in_the_middle_of_lookups(loop):
    """The child has the locks that their threads held, and none of the threads."""

    def child():
        loop._lookup_pool.close()
        loop._lookup_pool = None
        gc.unfreeze()
        gc.collect()
        return True

    async def main():
        codes = []
        for _ in range(10):
            lookups = [loop.getaddrinfo("localhost", port) for port in range(40)]
            lookups = asyncio.gather(*lookups)
            await asyncio.sleep(0)
            codes.append(await reap(fork(child)))
            assert len(await lookups) == 40
        return codes

    assert run(loop, main(), 50) == [0] * 10


def look_up_in_the_child(kind):
    child_loop = make_loop(kind)
    return bool(run(child_loop, child_loop.getaddrinfo("localhost", 80)))


def test_the_child_looks_up_names_when_its_parent_has(loop, loop_kind):
    assert run(loop, loop.getaddrinfo("localhost", 80))
    assert run(loop, reap(fork(look_up_in_the_child, loop_kind))) == 0


@only_on("loopx")
def test_the_child_may_abort_and_close_what_it_inherited(loop):
    """Whether that is refused or not: no crash, and nothing of it reaches the parent's peers.

    asyncio's child takes the descriptors out of the epoll set that it shares with its parent.
    """

    async def main():
        witness = await Witness().start()

        def child():
            for touch in (witness.writer.transport.abort, witness.server.close, loop.close):
                try:
                    touch()
                except RuntimeError:
                    continue
            gc.collect()
            return True

        try:
            code = await reap(fork(child))
            assert await witness.goes_on()
        finally:
            await witness.finish()
        return code

    assert run(loop, main(), 50) == 0


TOUCHES = {
    "leave": lambda loop, transport: None,
    "abort": lambda loop, transport: transport.abort(),
    "close": lambda loop, transport: transport.close(),
    "write_eof": lambda loop, transport: transport.write_eof(),
    "close the loop": lambda loop, transport: loop.close(),
    "collect": lambda loop, transport: gc.collect(),
}


@only_on("loopx")
@pytest.mark.parametrize("name", TOUCHES)
def test_what_waits_to_be_sent_leaves_once(loop, name):
    """Written in the turn of the fork: only the parent may send it, whatever the child does.

    asyncio's sockets send at once, and its child may well shut down the parent's connection.
    """

    def child(transport):
        try:
            TOUCHES[name](loop, transport)
        except RuntimeError:
            pass
        return True

    async def main():
        ours, theirs = tcp_pair()
        peer = Peer(theirs)
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        for number in range(5):
            transport.write(b"%d" % number)
            pid = fork(child, transport)
            assert await reap(pid) == 0
        transport.close()
        await protocol.lost
        received = await peer.recv_to_eof()
        peer.close()
        return received

    assert run(loop, main(), 50) == b"01234"


def test_grandchildren(loop, loop_kind):
    """A fork from a callback of the child's own loop."""

    def child():
        own = make_loop(loop_kind)

        async def main():
            pid = fork(serve_in_the_child, loop_kind)
            served = await converse()
            return served and await reap(pid) == 0

        try:
            return own.run_until_complete(main())
        finally:
            own.close()

    assert under_load(loop, child) == 0
