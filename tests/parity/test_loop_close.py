"""close(), a closed loop, and a loop or a transport that nobody closed.

Runs on asyncio and on loopx, on the main thread.
"""

import asyncio
import gc
import signal
import socket
import threading
import warnings
import weakref

import pytest

from tests.support.leaks import open_descriptors
from tests.support.loops import run_once
from tests.support.net import only_on


def test_close_is_idempotent(loop_factory):
    loop = loop_factory()
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert not loop.is_running()


def test_close_after_running(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert loop.is_closed()


@only_on("loopx")
@pytest.mark.parametrize("step", ["_close_servers", "_leave_processes", "_drop_signals"])
def test_what_a_closing_loop_owns_is_let_go_of_whatever_one_step_raises(loop, monkeypatch, step):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.run_until_complete(loop.getaddrinfo("localhost", 80))
    steps = ["_close_servers", "_leave_processes", "_drop_signals", "_shut_pools"]
    done = []

    def noting(name, really):
        def run(self):
            done.append(name)
            really(self)
            if name == step:
                raise KeyboardInterrupt

        return run

    with monkeypatch.context() as patch:
        for name in steps:
            patch.setattr(type(loop), name, noting(name, getattr(type(loop), name)))
        with pytest.raises(KeyboardInterrupt):
            loop.close()
    assert done == steps


def test_a_running_loop_cannot_be_closed(loop):
    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        await asyncio.sleep(0)
        return loop.is_closed()

    assert loop.run_until_complete(main()) is False


SYNCHRONOUS = {
    "run_forever": lambda loop: loop.run_forever(),
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(0, print),
    "call_at": lambda loop: loop.call_at(loop.time(), print),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_writer": lambda loop: loop.add_writer(1, print),
    "add_signal_handler": lambda loop: loop.add_signal_handler(signal.SIGUSR1, print),
}


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_closed_loop_refuses(loop_factory, name):
    loop = loop_factory()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        SYNCHRONOUS[name](loop)


COROUTINES = {
    "run_until_complete": lambda loop: loop.run_until_complete,
    "create_task": lambda loop: loop.create_task,
}


@pytest.mark.parametrize("name", COROUTINES)
def test_a_closed_loop_refuses_coroutines(loop_factory, name):
    loop = loop_factory()
    loop.close()
    coroutine = asyncio.sleep(0)
    try:
        with pytest.raises(RuntimeError, match="closed"):
            COROUTINES[name](loop)(coroutine)
    finally:
        coroutine.close()


def step(coroutine):
    """Start a coroutine without a loop, and close it."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_closed_loop_does_not_resolve(loop_factory, host):
    loop = loop_factory()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        step(loop.getaddrinfo(host, 1))


def test_a_closed_loop_names_no_addresses(loop_factory):
    loop = loop_factory()
    loop.close()
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    with pytest.raises(RuntimeError, match="closed"):
        step(loop.getnameinfo(("127.0.0.1", 1), numeric))


def test_a_closed_loop_does_not_connect_or_serve(loop_factory, loop_kind):
    if loop_kind == "asyncio":
        pytest.skip("asyncio makes the sockets first and fails, or not, when it watches them")
    loop = loop_factory()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        step(loop.create_connection(asyncio.Protocol, "127.0.0.1", 1))
    with pytest.raises(RuntimeError, match="closed"):
        step(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))


def test_what_stays_allowed_on_a_closed_loop(loop_factory):
    loop = loop_factory()
    future = loop.create_future()
    loop.close()
    loop.stop()
    assert loop.time() > 0
    assert not loop.get_debug()
    assert loop.get_task_factory() is None
    assert loop.get_exception_handler() is None
    assert future.cancel()


def test_handles_of_a_closed_loop_stay_usable(loop_factory):
    loop = loop_factory()
    soon = loop.call_soon(print)
    later = loop.call_later(1000, print)
    loop.close()
    soon.cancel()
    later.cancel()
    assert soon.cancelled() and later.cancelled()
    assert "cancelled" in repr(later)


def test_close_forgets_what_was_scheduled(loop_factory):
    class Big:
        def __call__(self):
            raise AssertionError("called by a closed loop")

    alive = []
    loop = loop_factory()
    for schedule in (loop.call_soon, loop.call_soon_threadsafe, lambda c: loop.call_later(0, c)):
        big = Big()
        alive.append(weakref.ref(big))
        schedule(big)
    del big, schedule
    loop.close()
    gc.collect()
    assert [reference() for reference in alive] == [None, None, None]


def test_close_gives_back_every_descriptor(loop_factory):
    before = open_descriptors()
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        during = open_descriptors()
        loop.add_reader(ours, print)
        loop.call_soon_threadsafe(int)
        run_once(loop)
        loop.close()
        # What the watched sockets are stays open: only the loop's own descriptors go.
        assert {ours.fileno(), theirs.fileno()} <= set(open_descriptors()) <= set(during)
    assert open_descriptors() == before


def test_close_with_an_operation_in_flight(loop_factory):
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        task = loop.create_task(loop.sock_recv(ours, 10))
        for _ in range(3):
            run_once(loop)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        # The receive must be gone: the byte is for whoever reads next.
        theirs.send(b"x")
        assert ours.recv(10) == b"x"


def test_close_from_another_thread_that_ran_it(loop_factory):
    loop = loop_factory()

    def run_and_close():
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run_and_close)
    thread.start()
    thread.join()
    assert loop.is_closed()


def test_an_unclosed_loop_warns_and_leaks_nothing(loop_factory):
    before = open_descriptors()
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    name = repr(loop).split()[0].lstrip("<")
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    messages = [str(entry.message) for entry in caught if entry.category is ResourceWarning]
    unclosed = [message for message in messages if "unclosed event loop" in message]
    assert len(unclosed) == 1 and name in unclosed[0]
    assert open_descriptors() == before


def test_a_closed_loop_does_not_warn(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del loop
        gc.collect()
    assert [entry for entry in caught if entry.category is ResourceWarning] == []


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_an_unclosed_loop_is_collected_with_what_it_was_to_call(loop_factory):
    """Of handles that somebody kept and of those that nobody did; and not a moment earlier."""

    class Node:
        def method(self, *args):
            pass

    loop = loop_factory()
    nodes = [Node() for _ in range(6)]
    kept = [loop.call_soon(node.method, loop) for node in nodes[:3]]
    nodes[0].handles = kept
    for node in nodes[3:]:
        loop.call_soon(node.method, loop)
    nodes[0].last = loop.call_soon(nodes[0].method, nodes[0])
    del kept, node
    alive = [weakref.ref(thing) for thing in (loop, *nodes)]
    del nodes
    gc.collect()
    assert all(reference() is not None for reference in alive)
    del loop
    gc.collect()
    assert [reference() for reference in alive] == [None] * 7


def test_an_unclosed_transport_warns(loop_factory):
    loop = loop_factory()
    ours, theirs = socket.socketpair()
    with theirs:

        async def connect():
            await loop.create_connection(asyncio.Protocol, sock=ours)

        loop.run_until_complete(connect())
        del ours
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.close()
            del connect, loop
            gc.collect()
        messages = [str(entry.message) for entry in caught if entry.category is ResourceWarning]
        assert any("unclosed transport" in message for message in messages), messages
        # The descriptor was given back all the same.
        theirs.settimeout(5)
        assert theirs.recv(1) == b""


def test_a_loop_is_collected_with_its_tasks_and_futures(loop_factory):
    loop = loop_factory()
    loop.run_until_complete(gather_naps(loop))
    alive = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert alive() is None


async def gather_naps(expected):
    assert asyncio.get_running_loop() is expected
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(10)))
