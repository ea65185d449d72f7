"""Other threads: call_soon_threadsafe, run_coroutine_threadsafe, and use from the wrong thread.

Runs on asyncio and on loopx.  Threads synchronise by events and by what the kernel says of a
thread, never by sleeping.
"""

import asyncio
import concurrent.futures
import contextvars
import socket
import threading
import time

import pytest

from tests.support.loops import ExceptionRecorder, run_once, run_turns
from tests.support.net import only_on, run, tcp_pair
from tests.support.recorders import Recorder
from tests.support.threads import HAS_GIL, Elsewhere, in_thread, wait_until_blocked

WAKE_S = 5.0
SHADE = contextvars.ContextVar("SHADE", default="plain")


def test_a_waiting_loop_is_woken(loop):
    for _ in range(20):
        seen = []

        def wake(main_id, seen=seen):
            wait_until_blocked(main_id)
            loop.call_soon_threadsafe(seen.append, time.monotonic())
            loop.call_soon_threadsafe(loop.stop)

        rescue = loop.call_later(50, loop.stop)
        started_s = time.monotonic()
        with Elsewhere(wake, threading.get_native_id()):
            loop.run_forever()
        rescue.cancel()
        assert len(seen) == 1
        assert time.monotonic() - started_s < WAKE_S


def test_ping_pong_loses_no_wake_up(loop):
    """Each call finds the loop busy, falling asleep or asleep, in every interleaving."""
    rounds = 3000
    pings = []
    answered = threading.Semaphore(0)

    def ping():
        for number in range(rounds):
            loop.call_soon_threadsafe(pong, number)
            assert answered.acquire(timeout=WAKE_S), f"round {number} was lost"
        loop.call_soon_threadsafe(loop.stop)

    def pong(number):
        pings.append(number)
        answered.release()

    with Elsewhere(ping):
        loop.run_forever()
    assert pings == list(range(rounds))


def test_eight_threads_lose_nothing_and_keep_their_order(loop):
    threads, calls = 8, 12_500
    seen = [[] for _ in range(threads)]
    left = threads

    def done():
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def call(index):
        append = seen[index].append
        start.wait()
        for number in range(calls):
            loop.call_soon_threadsafe(append, number)
        loop.call_soon_threadsafe(done)

    start = threading.Barrier(threads)
    callers = [Elsewhere(call, index).start() for index in range(threads)]
    loop.run_forever()
    for caller in callers:
        caller.join()
    assert [len(numbers) for numbers in seen] == [calls] * threads
    assert all(numbers == list(range(calls)) for numbers in seen)


def test_threads_and_the_loop_schedule_at_once(loop):
    seen = []

    def own(number):
        seen.append(("loop", number))
        if number < 2000:
            loop.call_soon(own, number + 1)
        else:
            finished.set()

    def call():
        for number in range(2000):
            loop.call_soon_threadsafe(seen.append, ("thread", number))
        finished.wait()
        loop.call_soon_threadsafe(loop.stop)

    finished = threading.Event()
    loop.call_soon(own, 0)
    with Elsewhere(call):
        loop.run_forever()
    assert [n for who, n in seen if who == "thread"] == list(range(2000))
    assert [n for who, n in seen if who == "loop"] == list(range(2001))


def test_calls_before_and_between_runs_are_kept(loop):
    seen = []
    in_thread(lambda: [loop.call_soon_threadsafe(seen.append, n) for n in range(100)])
    assert seen == []
    run_once(loop)
    in_thread(lambda: [loop.call_soon_threadsafe(seen.append, n) for n in range(100, 200)])
    run_once(loop)
    assert seen == list(range(200))


def test_the_handle_from_another_thread_can_be_cancelled(loop):
    seen = []
    handle = in_thread(lambda: loop.call_soon_threadsafe(seen.append, 1))
    handle.cancel()
    run_turns(loop, 2)
    assert seen == [] and handle.cancelled()


def test_the_context_is_the_callers(loop):
    seen = []

    def call():
        SHADE.set("of the thread")
        loop.call_soon_threadsafe(lambda: seen.append(SHADE.get()))
        context = contextvars.copy_context()
        context.run(SHADE.set, "given")
        loop.call_soon_threadsafe(lambda: seen.append(SHADE.get()), context=context)

    in_thread(call)
    run_once(loop)
    assert seen == ["of the thread", "given"]


def test_stop_from_a_thread(loop):
    def stop(main_id):
        wait_until_blocked(main_id)
        loop.call_soon_threadsafe(loop.stop)

    for _ in range(5):
        with Elsewhere(stop, threading.get_native_id()):
            loop.run_forever()


def test_a_loop_that_closes_while_threads_call(loop_factory, loop_kind):
    if loop_kind == "asyncio" and not HAS_GIL:
        pytest.skip("asyncio's loop runs into its time limit without a GIL")
    for _ in range(10):
        loop = loop_factory()
        refused = []

        def call(loop=loop, refused=refused):
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError as failure:
                refused.append(str(failure))

        callers = [Elsewhere(call).start() for _ in range(3)]
        run_turns(loop, 20)
        loop.close()
        for caller in callers:
            caller.join()
        assert len(refused) == 3 and all("closed" in message for message in refused)


def test_two_loops_in_two_threads_wake_each_other(loop, loop_factory):
    other = loop_factory()
    rounds = 500
    seen = []

    def here(number):
        seen.append(number)
        if number == rounds:
            other.call_soon_threadsafe(other.stop)
            loop.stop()
        else:
            other.call_soon_threadsafe(there, number)

    def there(number):
        loop.call_soon_threadsafe(here, number + 1)

    with Elsewhere(other.run_forever):
        loop.call_soon(here, 0)
        loop.run_forever()
    other.close()
    assert seen == list(range(rounds + 1))


def test_loops_in_four_threads_do_not_mix(loop_factory):
    def serve(number):
        loop = loop_factory()

        async def main():
            assert asyncio.get_running_loop() is loop
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            async with server:
                address = server.sockets[0].getsockname()
                for _ in range(20):
                    reader, writer = await asyncio.open_connection(*address)
                    assert await reader.read() == b"%d" % number
                    writer.close()
                    await writer.wait_closed()
            return number

        async def answer(reader, writer):
            writer.write(b"%d" % number)
            writer.close()
            await writer.wait_closed()

        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    workers = [Elsewhere(serve, number).start() for number in range(4)]
    assert [worker.join() for worker in workers] == [0, 1, 2, 3]


def test_run_coroutine_threadsafe(loop):
    async def add(left, right):
        await asyncio.sleep(0)
        return left + right

    async def fail():
        raise ZeroDivisionError("over there")

    def ask():
        future = asyncio.run_coroutine_threadsafe(add(1, 2), loop)
        assert future.result(WAKE_S) == 3
        with pytest.raises(ZeroDivisionError, match="over there"):
            asyncio.run_coroutine_threadsafe(fail(), loop).result(WAKE_S)
        cancelled = asyncio.run_coroutine_threadsafe(asyncio.sleep(50), loop)
        cancelled.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            cancelled.result(WAKE_S)
        asyncio.run_coroutine_threadsafe(stop(), loop).result(WAKE_S)

    async def stop():
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks)
        loop.call_later(0.01, loop.stop)

    with Elsewhere(ask):
        loop.run_forever()


DEBUG_CALLS = {
    "call_soon": lambda loop: loop.call_soon(int),
    "call_later": lambda loop: loop.call_later(1, int),
    "call_at": lambda loop: loop.call_at(loop.time(), int),
}


@pytest.mark.parametrize("name", DEBUG_CALLS)
def test_debug_mode_refuses_calls_from_the_wrong_thread(loop, name):
    async def main():
        def call():
            with pytest.raises(RuntimeError, match="[Nn]on-thread-safe"):
                DEBUG_CALLS[name](loop)

        await asyncio.to_thread(call)

    loop.set_debug(True)
    run(loop, main())


@only_on("loopx")
@pytest.mark.parametrize("name", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_debug_mode_refuses_watching_from_the_wrong_thread(loop, name):
    """asyncio says nothing, and changes the selector under the loop that waits in it."""

    async def main():
        arguments = (int,) if name.startswith("add") else ()
        with socket.socket() as sock:
            with pytest.raises(RuntimeError, match="[Nn]on-thread-safe"):
                await asyncio.to_thread(getattr(loop, name), sock, *arguments)
            assert not loop.remove_reader(sock)
            assert not loop.remove_writer(sock)

    loop.set_debug(True)
    run(loop, main())


def test_debug_mode_allows_settings_and_stop_from_any_thread(loop):
    def change():
        loop.set_task_factory(None)
        loop.set_exception_handler(None)
        loop.set_debug(loop.get_debug())
        loop.stop()
        loop.call_soon_threadsafe(int)  # stop wakes nobody

    loop.set_debug(True)
    rescue = loop.call_later(50, int)
    with Elsewhere(change):
        loop.run_forever()
    assert not rescue.cancelled() and rescue.when() > loop.time()
    rescue.cancel()


def test_debug_mode_allows_the_thread_safe_call(loop):
    seen = []

    async def main():
        await asyncio.to_thread(loop.call_soon_threadsafe, seen.append, 1)

    loop.set_debug(True)
    run(loop, main())
    assert seen == [1]


def test_debug_mode_allows_any_thread_while_the_loop_rests(loop):
    loop.set_debug(True)
    run_once(loop)
    seen = []
    in_thread(loop.call_soon, seen.append, 1)
    run_once(loop)
    assert seen == [1]


def test_the_wrong_thread_without_debug_mode_does_no_harm(loop, loop_kind):
    """Nobody promises when such a callback runs; that it runs, and nothing breaks, is tested."""
    if loop_kind == "asyncio" and not HAS_GIL:
        pytest.skip("asyncio's timers fail without a GIL: 'list changed size during iteration'")
    seen = []

    def misuse():
        for number in range(200):
            loop.call_soon(seen.append, number)
            loop.call_later(0.001, seen.append, "timer").cancel()
        loop.call_soon_threadsafe(int)

    async def main():
        await asyncio.to_thread(misuse)
        while len(seen) < 200:
            await asyncio.sleep(0.001)

    run(loop, main())
    assert seen == list(range(200))


@pytest.mark.parametrize("size_bytes", [1, 100_000])
def test_a_write_from_the_wrong_thread_arrives(loop, size_bytes):
    """The loop waits in the kernel, and nothing but the write itself could wake it."""
    payload = b"w" * size_bytes

    def write(transport, sock, main_id):
        wait_until_blocked(main_id)
        transport.write(payload)
        got = b""
        while len(got) < size_bytes:
            got += sock.recv(1 << 20)
        return got

    async def main():
        ours, theirs = tcp_pair()
        with theirs:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            main_id = threading.get_native_id()
            got = await asyncio.to_thread(write, transport, theirs, main_id)
            transport.close()
            await protocol.lost
        return got

    assert run(loop, main()) == payload


def test_a_callback_that_fails_in_a_loop_on_a_thread(loop_factory):
    loop = loop_factory()
    recorder = ExceptionRecorder(loop)

    def work():
        loop.call_soon(lambda: 1 / 0)
        run_once(loop)
        loop.close()

    in_thread(work)
    assert [type(context["exception"]) for context in recorder.contexts] == [ZeroDivisionError]
