"""A loop that is made in one thread and run by others, one after the other.

Servers, connections, timers, watched descriptors, pending operations and a signal handler live on
across the moves, whether the thread that ran the loop before has ended or not, and what arrives
while nobody runs the loop is not lost.  Runs on asyncio and on loopx.
"""

import asyncio
import os
import signal
import socket
import threading

import pytest

from tests.support.loops import loop, loop_factory, loop_kind  # noqa: F401
from tests.support.moving import TIMEOUT_S, finish, move, threads  # noqa: F401
from tests.support.net import tcp_pair
from tests.support.recorders import Echo, Recorder
from tests.support.threads import Elsewhere, wait_until_blocked

async def serve(factory):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()


async def close_server(server):
    server.close()
    await server.wait_closed()


def test_tasks_and_timers(loop, threads):
    fired = []
    loop.call_later(0.05, fired.append, "set before the first run")
    counting = asyncio.Event()

    async def count():
        for _ in range(50):
            await asyncio.sleep(0.001)
        counting.set()
        return "counted"

    task = loop.create_task(count())
    for _ in range(4):
        move(threads, loop, asyncio.sleep(0.005))
    assert not task.done()
    move(threads, loop, counting.wait())
    move(threads, loop, asyncio.sleep(0.05))
    assert task.result() == "counted"
    assert fired == ["set before the first run"]


def test_a_timer_that_comes_due_between_the_threads(loop, threads):
    fired = []
    handle = loop.call_later(0.01, fired.append, 1)
    move(threads, loop, asyncio.sleep(0))
    while loop.time() < handle.when():
        pass
    move(threads, loop, asyncio.sleep(0.001))
    assert fired == [1]


def test_a_server_and_its_connections(loop, threads):
    """The client is a plain socket that talks while nobody runs the loop."""
    protocols = []

    def factory():
        protocols.append(Echo())
        return protocols[-1]

    server, address = move(threads, loop, serve(factory))
    with socket.create_connection(address, timeout=TIMEOUT_S) as client:
        for number in range(6):
            message = b"message %d" % number
            client.sendall(message)
            move(threads, loop, asyncio.sleep(0.02))
            assert client.recv(100) == message
        assert len(protocols) == 1
        # One more connection, made while the loop rests, is taken by the backlog and served.
        with socket.create_connection(address, timeout=TIMEOUT_S) as late:
            late.sendall(b"late")
            move(threads, loop, asyncio.sleep(0.02))
            assert late.recv(100) == b"late"
    move(threads, loop, asyncio.sleep(0.02))
    assert [p.calls[-1] for p in protocols] == ["connection_lost"] * 2
    move(threads, loop, close_server(server))


def test_data_that_arrives_while_nobody_runs_the_loop(loop, threads):
    payload = os.urandom(50_000)
    ours, theirs = tcp_pair()
    with theirs:

        async def connect():
            return await loop.create_connection(Recorder, sock=ours)

        transport, protocol = move(threads, loop, connect())
        sent = b""
        for start in range(0, len(payload), 10_000):
            piece = payload[start : start + 10_000]
            theirs.sendall(piece)
            sent += piece
            move(threads, loop, protocol.received(len(sent)))
        assert bytes(protocol.buffer) == payload
        theirs.close()
        move(threads, loop, protocol.ended)
        move(threads, loop, protocol.lost)
        assert protocol.calls == [
            "connection_made",
            "data_received",
            "eof_received",
            "connection_lost",
        ]


def test_everything_at_once_in_one_order(loop, threads):
    """A peer sends without pause through ten moves: each byte arrives once, in order."""
    total_bytes = 4 << 20
    pattern = bytes(range(251)) * (total_bytes // 251 + 1)
    pattern = pattern[:total_bytes]
    ours, theirs = tcp_pair()
    with theirs:

        async def connect():
            return await loop.create_connection(Recorder, sock=ours)

        transport, protocol = move(threads, loop, connect())
        with Elsewhere(theirs.sendall, pattern):
            for step in range(1, 11):
                move(threads, loop, protocol.received(total_bytes * step // 10))
        assert protocol.buffer == pattern
        finish(loop, transport)


def test_a_write_that_is_under_way(loop, threads):
    """The peer reads only after the moves: most of it waits in the transport."""
    payload = os.urandom(1 << 20) * 8
    ours, theirs = tcp_pair()

    def read():
        data = bytearray()
        while piece := theirs.recv(1 << 20):
            data += piece
        return data

    async def connect_and_write():
        transport, protocol = await loop.create_connection(Recorder, sock=ours)
        transport.write(payload[: len(payload) // 2])
        await asyncio.sleep(0.001)
        return transport, protocol

    async def write_the_rest():
        transport.write(payload[len(payload) // 2 :])
        transport.close()
        await asyncio.sleep(0.001)

    with theirs:
        transport, protocol = move(threads, loop, connect_and_write())
        assert transport.get_write_buffer_size() > 0
        move(threads, loop, write_the_rest())
        with Elsewhere(read) as reader:
            move(threads, loop, protocol.lost)
        assert bytes(reader.result) == payload
    assert protocol.lost.result() is None


def test_pending_operations_on_sockets(loop, threads):
    ours, theirs = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    with ours, theirs, listener:
        ours.setblocking(False)
        listener.setblocking(False)
        receiving = loop.create_task(loop.sock_recv(ours, 100))
        accepting = loop.create_task(loop.sock_accept(listener))
        for _ in range(3):
            move(threads, loop, asyncio.sleep(0.001))
        assert not receiving.done() and not accepting.done()
        theirs.send(b"after the moves")
        with socket.create_connection(listener.getsockname(), timeout=TIMEOUT_S) as client:
            assert move(threads, loop, receiving) == b"after the moves"
            accepted, name = move(threads, loop, accepting)
            assert name == client.getsockname()
            accepted.close()


def test_a_pending_operation_cancelled_on_another_thread(loop, threads):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        receiving = loop.create_task(loop.sock_recv(ours, 100))
        move(threads, loop, asyncio.sleep(0.001))
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            move(threads, loop, receiving)
        # It must be gone: what comes now is for the next reader.
        theirs.send(b"kept")
        move(threads, loop, asyncio.sleep(0.005))
        assert ours.recv(10) == b"kept"


def test_watched_descriptors(loop, threads):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        seen = []
        loop.add_reader(ours, lambda: seen.append(ours.recv(100)))
        for number in range(5):
            theirs.send(b"%d" % number)
            move(threads, loop, asyncio.sleep(0.005))
        assert seen == [b"0", b"1", b"2", b"3", b"4"]
        assert loop.remove_reader(ours)
        theirs.send(b"x")
        move(threads, loop, asyncio.sleep(0.005))
        assert len(seen) == 5


def test_calls_from_other_threads_after_a_move(loop, threads):
    for number in range(4):
        woken = []

        async def main(woken=woken):
            future = loop.create_future()
            native_id = threading.get_native_id()

            def wake():
                wait_until_blocked(native_id)
                loop.call_soon_threadsafe(future.set_result, "woken")

            with Elsewhere(wake):
                woken.append(await future)

        loop.call_soon_threadsafe(woken.append, number)
        move(threads, loop, main())
        assert woken == [number, "woken"]


def test_a_signal_handler(loop, threads):
    """Added by the main thread, which alone may; called on whichever thread runs the loop."""
    seen = []

    def handler():
        seen.append(threading.current_thread() is not threading.main_thread())
        arrived.set()

    async def main():
        await arrived.wait()
        arrived.clear()

    arrived = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, handler)
    try:
        for _ in range(3):
            # Sent before the loop runs: it waits in the pipe.
            os.kill(os.getpid(), signal.SIGUSR1)
            move(threads, loop, main())
        for _ in range(2):
            loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
            move(threads, loop, main())
        assert seen == [True] * 5
    finally:
        assert loop.remove_signal_handler(signal.SIGUSR1)


def test_all_of_it_together(loop, threads):
    """A server, forty connections, timers, a reader and a signal handler, through eight moves."""
    ticks, signals, readings = [], [], []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop.add_reader(ours, lambda: readings.append(ours.recv(1)))
    loop.add_signal_handler(signal.SIGUSR1, signals.append, 1)

    def tick():
        ticks.append(loop.time())
        ticking[0] = loop.call_later(0.002, tick)

    ticking = [loop.call_soon(tick)]
    server, address = move(threads, loop, serve(Echo))
    clients = [socket.create_connection(address, timeout=TIMEOUT_S) for _ in range(40)]
    try:
        for number in range(8):
            before = len(ticks)
            for index, client in enumerate(clients):
                client.sendall(b"%04d" % (index * number))
            theirs.send(b"r")
            os.kill(os.getpid(), signal.SIGUSR1)
            move(threads, loop, asyncio.sleep(0.03))
            for index, client in enumerate(clients):
                answer = client.recv(4, socket.MSG_WAITALL)
                assert answer == b"%04d" % (index * number)
            assert len(ticks) > before
            assert len(readings) == len(signals) == number + 1
    finally:
        for client in clients:
            client.close()
        ticking[0].cancel()
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
    move(threads, loop, asyncio.sleep(0.01))
    move(threads, loop, close_server(server))


def test_closed_on_another_thread_than_it_ran(loop_factory, threads):
    made = loop_factory()
    ours, theirs = tcp_pair()
    with theirs:

        async def connect():
            return await made.create_connection(Recorder, sock=ours)

        transport, _ = move(threads, made, connect())
        finish(made, transport)
        threads.run(made.close)
        assert made.is_closed()
        theirs.settimeout(TIMEOUT_S)
        assert theirs.recv(1) == b""


def test_closed_with_operations_left_by_another_thread(loop_factory, threads):
    made = loop_factory()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        made.add_reader(ours, print)
        move(threads, made, asyncio.sleep(0.001))
        made.close()
        theirs.send(b"x")
        assert ours.recv(1) == b"x"


def test_forty_moves(loop, threads):
    """Rings that are left behind must be given back."""
    server, address = move(threads, loop, serve(Echo))
    with socket.create_connection(address, timeout=TIMEOUT_S) as client:
        move(threads, loop, asyncio.sleep(0.005))
        before = len(os.listdir("/proc/self/fd"))
        for number in range(40):
            client.sendall(b"x")
            move(threads, loop, asyncio.sleep(0.003))
            assert client.recv(1) == b"x", number
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    move(threads, loop, asyncio.sleep(0.005))
    move(threads, loop, close_server(server))
