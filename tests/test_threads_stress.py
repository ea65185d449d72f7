"""Loops in several threads at once, and many threads that talk to one loop: nothing is disturbed.

Made for interpreters without a GIL, true with one as well.  Each thread runs its own loops; what
crosses threads goes through `call_soon_threadsafe` and `run_coroutine_threadsafe` alone.
"""

import asyncio
import threading

import pytest

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


def test_loops_made_run_and_closed_in_four_threads_at_once():
    def work(number):
        for round_ in range(25):
            message = b"%d:%d," % (number, round_) * 2_000
            with asyncio.Runner(loop_factory=lambda: make_loop("loopx")) as runner:
                runner.run(echo_once(message))

    in_threads(THREADS, work)


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
