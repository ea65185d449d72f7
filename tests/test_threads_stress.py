"""Loops in several threads at once, and many threads that talk to one loop: nothing is disturbed.

Made for interpreters without a GIL, true with one as well.  Each thread runs its own loops; what
crosses threads goes through `call_soon_threadsafe` and `run_coroutine_threadsafe` alone.
"""

import asyncio
import contextlib
import functools
import os
import socket
import threading

import pytest

from tests.support.children import output_of
from tests.support.loops import make_loop, require_loopx

require_loopx()

THREADS = 4


def in_threads(count, work):
    """Run `work(number)` in so many threads at once; what one of them raises is raised here."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("calls", [50_000])
def test_every_call_from_four_threads_arrives_once_and_in_order(calls):
    loop = make_loop("loopx")
    seen = [[] for _ in range(THREADS)]
    arrived = 0

    def take(number, call):
        nonlocal arrived
        seen[number].append(call)
        arrived += 1
        if arrived == THREADS * calls:
            loop.stop()

    def produce(number):
        for call in range(calls):
            loop.call_soon_threadsafe(take, number, call)

    producers = threading.Thread(target=in_threads, args=(THREADS, produce))
    producers.start()
    loop.run_forever()
    producers.join()
    loop.close()
    assert seen == [list(range(calls))] * THREADS


def test_each_call_wakes_a_loop_that_sleeps():
    """One call at a time: a wake-up that is lost would end this by the time limit."""
    loop = make_loop("loopx")

    def produce(number):
        for _ in range(2_000):
            done = threading.Event()
            loop.call_soon_threadsafe(done.set)
            done.wait()

    def produce_and_stop():
        in_threads(THREADS, produce)
        loop.call_soon_threadsafe(loop.stop)

    producers = threading.Thread(target=produce_and_stop)
    producers.start()
    loop.run_forever()
    producers.join()
    loop.close()


def test_handles_cancelled_by_another_thread_run_or_do_not():
    loop = make_loop("loopx")
    ran = []

    def produce(number):
        for call in range(5_000):
            handle = loop.call_soon_threadsafe(ran.append, (number, call))
            handle.cancel()
            assert handle.cancelled() and repr(handle)

    def produce_and_stop():
        in_threads(THREADS, produce)
        loop.call_soon_threadsafe(loop.stop)

    producers = threading.Thread(target=produce_and_stop)
    producers.start()
    loop.run_forever()
    producers.join()
    loop.close()
    assert len(set(ran)) == len(ran)


@pytest.mark.parametrize("debug", [False, True])
def test_handles_described_while_another_thread_cancels_them(debug):
    """A description never meets a callback or arguments that are being freed."""
    loop = make_loop("loopx")
    loop.set_debug(debug)
    rounds, seen = 300 if debug else 3_000, ["an argument"]
    handles = [None]
    together = threading.Barrier(THREADS, lambda: handles.__setitem__(0, fresh_handle()))

    def fresh_handle():
        return loop.call_soon_threadsafe(functools.partial(print, object()), [*seen])

    def look(handle, number):
        if number == 0:
            handle.cancel()
        for _ in range(20):
            text = repr(handle)
            assert text.startswith(f"<{type(handle).__name__}") and "None" not in text
            assert handle._args in (None, (seen,))

    def work(number):
        try:
            for _ in range(rounds):
                together.wait()
                look(handles[0], number)
        except BaseException:
            together.abort()
            raise

    in_threads(THREADS, work)
    loop.close()


async def echo_once(message):
    async def serve(reader, writer):
        writer.write(await reader.readexactly(len(message)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(message)
        assert await reader.readexactly(len(message)) == message
        writer.close()
        await writer.wait_closed()


def test_callbacks_and_timers_of_a_running_loop_from_four_threads_at_once():
    """Wrong of the program: call_soon_threadsafe is for this. Nothing breaks, each call runs."""
    loop = make_loop("loopx")
    calls, ran, timers = 3_000, [], []

    def misuse(number):
        for call in range(calls):
            loop.call_soon(ran.append, (number, call))
            loop.call_soon(int).cancel()  # it may have run by then
            loop.call_later(0, timers.append, (number, call))
            loop.call_later(0.001, int).cancel()

    async def main():
        await loop.run_in_executor(None, in_threads, THREADS, misuse)
        while len(ran) < THREADS * calls or len(timers) < THREADS * calls:
            await asyncio.sleep(0)
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    loop.close()
    assert sorted(timers) == sorted(ran)
    for number in range(THREADS):
        mine = [call for thread, call in ran if thread == number]
        assert mine == list(range(calls))


def test_stats_of_a_busy_loop_from_other_threads():
    loop = make_loop("loopx")
    over = threading.Event()

    def look(number):
        while not over.is_set():
            assert loop.stats()["turns"] >= 0

    async def main():
        for _ in range(300):
            futures = [loop.create_future() for _ in range(50)]
            for future in futures:
                loop.call_soon(future.set_result, None)
            await asyncio.gather(*futures)
        over.set()

    lookers = threading.Thread(target=in_threads, args=(2, look))
    lookers.start()
    loop.run_until_complete(main())
    lookers.join()
    loop.close()


def test_one_transport_used_by_four_threads_at_once():
    """Wrong of the program, which loses nothing by it: each thread's bytes arrive in order."""
    loop = make_loop("loopx")
    pieces = 3_000

    async def main():
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)

        def misuse(number):
            for piece in range(pieces):
                transport.write(b"%d:%06d\n" % (number, piece))
                transport.pause_reading()
                transport.resume_reading()
                transport.set_write_buffer_limits(high=piece)
                transport.set_protocol(asyncio.Protocol())
                transport.get_protocol(), transport.get_extra_info("socket"), repr(transport)

        work = loop.run_in_executor(None, in_threads, THREADS, misuse)
        lines = [await reader.readexactly(9) for _ in range(THREADS * pieces)]
        await work
        await loop.run_in_executor(None, in_threads, THREADS, lambda _number: transport.close())
        assert await reader.read() == b""
        writer.close()
        for number in range(THREADS):
            mine = [line for line in lines if line.startswith(b"%d:" % number)]
            assert mine == [b"%d:%06d\n" % (number, piece) for piece in range(pieces)]
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    loop.close()


@pytest.mark.logs_errors  # of writes after the end, when the loop makes them: without a GIL
@pytest.mark.parametrize("end", [None, "close", "write_eof", "abort"])
def test_large_writes_to_one_transport_by_four_threads_at_once(end):
    """Each is sent by its thread itself, without the GIL: none leaves twice, the end arrives."""
    loop = make_loop("loopx")
    pieces, filling = 100, bytes(40_000)

    async def main():
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=theirs)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.set_write_buffer_limits(0)

        def misuse(number):
            for piece in range(pieces):
                if end and number == 0 and piece == pieces // 2:
                    getattr(transport, end)()
                with contextlib.suppress(RuntimeError):       # after write_eof
                    transport.write(b"%d:%06d" % (number, piece) + filling)

        received = asyncio.ensure_future(reader.read(-1))
        await loop.run_in_executor(None, in_threads, THREADS, misuse)
        if end is None:
            transport.close()
        *arrived, _rest = (await received).split(filling)
        for number in range(THREADS):
            mine = [piece for piece in arrived if piece.startswith(b"%d:" % number)]
            count = len(mine) if end else pieces
            assert mine == [b"%d:%06d" % (number, piece) for piece in range(count)]
        writer.close()
        transport.close()
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    loop.close()


def test_loops_made_run_and_closed_in_four_threads_at_once():
    def work(number):
        for round_ in range(25):
            message = b"%d:%d," % (number, round_) * 2_000
            with asyncio.Runner(loop_factory=lambda: make_loop("loopx")) as runner:
                runner.run(echo_once(message))

    in_threads(THREADS, work)


FIRST_LOOPS = """
import asyncio
import threading

import loopx

failures = []
barrier = threading.Barrier(4)

async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()

def work():
    try:
        barrier.wait()
        with asyncio.Runner(loop_factory=loopx.new_event_loop) as runner:
            runner.run(main())
    except BaseException as error:
        failures.append(repr(error))

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(failures)
"""


def test_the_first_loops_of_a_process_are_made_in_four_threads_at_once():
    # Without a GIL one in seven of these failed when cffi's types were made as they were needed.
    for _ in range(10):
        assert output_of(FIRST_LOOPS) == ["[]"]


def test_loops_are_closed_while_threads_call():
    """A wake-up never reaches what has the closed loop's descriptor by then."""

    def produce(loop, over):
        try:
            while not over.is_set():
                loop.call_soon_threadsafe(int)
        except RuntimeError:  # it is closed
            pass

    for _ in range(20):
        loop = make_loop("loopx")
        over = threading.Event()
        threads = [threading.Thread(target=produce, args=(loop, over)) for _ in range(2)]
        for thread in threads:
            thread.start()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        bystander = os.eventfd(0, os.EFD_NONBLOCK)  # takes the number of the loop's own
        over.set()
        for thread in threads:
            thread.join()
        with pytest.raises(BlockingIOError):
            os.eventfd_read(bystander)
        os.close(bystander)


def test_coroutines_are_handed_from_loop_to_loop():
    loops = [make_loop("loopx") for _ in range(THREADS)]
    ready = threading.Barrier(THREADS)
    finished = threading.Barrier(THREADS)

    async def add(left, right):
        await asyncio.sleep(0)
        return left + right

    async def main(number):
        await asyncio.to_thread(ready.wait)
        others = [loop for loop in loops if loop is not loops[number]]
        for round_ in range(200):
            futures = [
                asyncio.wrap_future(asyncio.run_coroutine_threadsafe(add(round_, number), loop))
                for loop in others
            ]
            assert await asyncio.gather(*futures) == [round_ + number] * len(others)
        await asyncio.to_thread(finished.wait)

    def work(number):
        loop = loops[number]
        try:
            loop.run_until_complete(main(number))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    in_threads(THREADS, work)
