"""add_reader, add_writer and their removal, and descriptors that go away.

Runs on asyncio and on loopx, on the main thread.  What a transport does when its socket goes
away is in test_readers_gone.py.
"""

import asyncio
import os
import socket

import pytest

from tests.support.loops import ExceptionRecorder, run_on_until, run_turns
from tests.support.net import run, tcp_pair
from tests.support.recorders import Recorder


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def run_for(loop, duration_s=0.02):
    """For what must not happen: a busy machine may give the loop one turn in that time."""
    loop.call_later(duration_s, loop.stop)
    loop.run_forever()


def test_a_reader_is_called_with_its_arguments(loop, pair):
    ours, theirs = pair
    seen = []

    def readable(*args):
        seen.append((args, ours.recv(10)))
        loop.stop()

    loop.add_reader(ours, readable, 1, "two")
    theirs.send(b"x")
    loop.run_forever()
    assert seen == [((1, "two"), b"x")]
    assert loop.remove_reader(ours) is True


def test_a_writer_is_called_while_there_is_room(loop, pair):
    ours, _ = pair
    calls = []

    def writable():
        calls.append(1)
        if len(calls) == 5:
            loop.stop()

    loop.add_writer(ours, writable)
    loop.run_forever()
    assert calls == [1] * 5
    assert loop.remove_writer(ours) is True


def test_readiness_is_a_level_and_not_an_edge(loop, pair):
    """As long as something is left to read, the reader is called again."""
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
    theirs.send(b"abc")
    run_on_until(loop, lambda: len(seen) == 3)
    assert seen == [b"a", b"b", b"c"]
    loop.remove_reader(ours)


def test_a_reader_that_reads_nothing_is_called_again_and_again(loop, pair):
    ours, theirs = pair
    calls = []
    loop.add_reader(ours, calls.append, 1)
    theirs.send(b"x")
    run_on_until(loop, lambda: len(calls) > 3)
    loop.remove_reader(ours)


def test_data_that_was_there_before_the_reader(loop, pair):
    ours, theirs = pair
    theirs.send(b"early")
    seen = []
    loop.add_reader(ours, lambda: (seen.append(ours.recv(10)), loop.stop()))
    loop.run_forever()
    assert seen == [b"early"]
    loop.remove_reader(ours)


def test_a_reader_and_a_writer_of_one_descriptor(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: seen.append(ours.recv(10)))
    loop.add_writer(ours, lambda: (seen.append("writable"), loop.remove_writer(ours)))
    theirs.send(b"x")
    run_on_until(loop, lambda: len(seen) == 2)
    assert sorted(map(str, seen)) == ["b'x'", "writable"]
    theirs.send(b"y")
    run_on_until(loop, lambda: len(seen) == 3)
    assert seen[-1] == b"y"
    assert loop.remove_writer(ours) is False
    assert loop.remove_reader(ours) is True


def test_a_second_reader_replaces_the_first(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: seen.append(("first", ours.recv(10))))
    run_turns(loop, 3)
    loop.add_reader(ours, lambda: seen.append(("second", ours.recv(10))))
    theirs.send(b"x")
    run_on_until(loop, lambda: seen)
    assert seen == [("second", b"x")]
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours) is False


def test_removing_tells_whether_there_was_one(loop, pair):
    ours, _ = pair
    assert loop.remove_reader(ours) is False
    assert loop.remove_writer(ours) is False
    loop.add_reader(ours, print)
    assert loop.remove_writer(ours) is False
    assert loop.remove_reader(ours) is True


def test_a_removed_reader_is_not_called(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, seen.append, 1)
    run_turns(loop, 3)
    loop.remove_reader(ours)
    theirs.send(b"x")
    run_for(loop)
    assert seen == []
    assert ours.recv(10) == b"x"


def test_removing_from_within_the_reader(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: seen.append(loop.remove_reader(ours)))
    theirs.send(b"x")
    run_on_until(loop, lambda: seen)
    assert seen == [True]


def test_one_reader_may_remove_another_that_is_ready_as_well(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        seen = []

        def readable(mine, other):
            seen.append(mine)
            loop.remove_reader(pairs[mine][0])
            loop.remove_reader(pairs[other][0])

        for mine, other in ((0, 1), (1, 0)):
            loop.add_reader(pairs[mine][0], readable, mine, other)
            pairs[mine][1].send(b"x")
        run_on_until(loop, lambda: seen)
        assert len(seen) == 1
    finally:
        for ours, theirs in pairs:
            ours.close()
            theirs.close()


def test_adding_again_after_removing(loop, pair):
    ours, theirs = pair
    seen = []
    for number in range(50):
        loop.add_reader(ours, lambda number=number: seen.append((number, ours.recv(1))))
        if number % 2:
            run_turns(loop, 1)
        if number < 49:
            loop.remove_reader(ours)
    theirs.send(b"x")
    run_on_until(loop, lambda: seen)
    assert seen == [(49, b"x")]
    loop.remove_reader(ours)


def test_the_end_of_the_stream_is_readable(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: (seen.append(ours.recv(10)), loop.stop()))
    theirs.close()
    loop.run_forever()
    assert seen == [b""]
    loop.remove_reader(ours)


def test_a_writer_is_told_of_a_refused_connection(loop):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.connect(address)
        loop.add_writer(sock, loop.stop)
        loop.run_forever()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        loop.remove_writer(sock)


def test_a_writer_waits_for_room(loop, pair):
    ours, theirs = pair
    with pytest.raises(BlockingIOError):
        while True:
            ours.send(b"x" * 65536)
    calls = []
    loop.add_writer(ours, lambda: (calls.append(1), loop.stop()))
    run_for(loop)
    assert calls == []
    with pytest.raises(BlockingIOError):
        while True:
            theirs.recv(65536)
    loop.run_forever()
    assert calls == [1]
    loop.remove_writer(ours)


def test_pipes(loop):
    read_end, write_end = os.pipe()
    try:
        seen = []

        def writable():
            os.write(write_end, b"x")
            loop.remove_writer(write_end)

        loop.add_writer(write_end, writable)
        loop.add_reader(read_end, lambda: (seen.append(os.read(read_end, 10)), loop.stop()))
        loop.run_forever()
        assert seen == [b"x"]
        loop.remove_reader(read_end)
    finally:
        os.close(read_end)
        os.close(write_end)


def test_the_other_end_of_a_pipe_goes_away(loop):
    read_end, write_end = os.pipe()
    os.close(write_end)
    try:
        seen = []
        loop.add_reader(read_end, lambda: (seen.append(os.read(read_end, 10)), loop.stop()))
        loop.run_forever()
        assert seen == [b""]
        loop.remove_reader(read_end)
    finally:
        os.close(read_end)


def test_numbers_and_objects_with_a_number_are_the_same(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours.fileno(), lambda: (seen.append(ours.recv(10)), loop.stop()))
    theirs.send(b"x")
    loop.run_forever()
    assert seen == [b"x"]
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours.fileno()) is False


@pytest.mark.parametrize("thing", [-1, "socket", None, 1.5, object()], ids=repr)
def test_what_is_no_descriptor(loop, thing):
    with pytest.raises((ValueError, TypeError)):
        loop.add_reader(thing, print)
    with pytest.raises((ValueError, TypeError)):
        loop.add_writer(thing, print)


def test_a_descriptor_that_is_not_open(loop):
    number = os.dup(0)
    os.close(number)
    with pytest.raises(OSError):
        loop.add_reader(number, print)
    with pytest.raises(OSError):
        loop.add_writer(number, print)


def test_a_reader_that_fails_is_reported_and_stays(loop, pair):
    ours, theirs = pair
    recorder = ExceptionRecorder(loop)

    def readable():
        ours.recv(1)
        raise ZeroDivisionError

    loop.add_reader(ours, readable)
    theirs.send(b"ab")
    run_on_until(loop, lambda: len(recorder.contexts) == 2)
    assert [type(c["exception"]) for c in recorder.contexts] == [ZeroDivisionError] * 2
    loop.remove_reader(ours)


def test_the_descriptor_of_a_transport_is_refused(loop):
    async def main():
        ours, theirs = tcp_pair()
        with theirs:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            for method in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(ours.fileno(), print)
            for method in (loop.remove_reader, loop.remove_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    method(ours.fileno())
            transport.close()
            await protocol.lost

    run(loop, main())


def test_readers_live_across_runs(loop, pair):
    ours, theirs = pair
    seen = []
    loop.add_reader(ours, lambda: seen.append(ours.recv(10)))
    run_turns(loop, 3)
    theirs.send(b"between")
    assert seen == []
    run_on_until(loop, lambda: seen)
    assert seen == [b"between"]
    loop.remove_reader(ours)


def test_a_hundred_readers(loop):
    pairs = [socket.socketpair() for _ in range(100)]
    try:
        seen = []
        for number, (ours, _) in enumerate(pairs):
            loop.add_reader(ours, lambda n=number, s=ours: seen.append((n, s.recv(10))))
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(b"%d" % number)
        while len(seen) < 100:
            run_turns(loop, 1)
        assert sorted(seen) == [(number, b"%d" % number) for number in range(100)]
        for ours, _ in pairs:
            assert loop.remove_reader(ours)
    finally:
        for ours, theirs in pairs:
            ours.close()
            theirs.close()


def test_a_reader_wakes_a_waiting_loop_beside_tasks(loop, pair):
    ours, theirs = pair

    async def main():
        arrived = loop.create_future()
        loop.add_reader(ours, lambda: arrived.done() or arrived.set_result(ours.recv(99)))
        await asyncio.to_thread(theirs.send, b"from a thread")
        data = await arrived
        loop.remove_reader(ours)
        return data

    assert run(loop, main()) == b"from a thread"
