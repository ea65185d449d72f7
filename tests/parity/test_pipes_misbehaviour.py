"""Protocols of pipes whose callbacks raise: what is reported, and what goes on.

Runs on asyncio and on loopx. As with asyncio, and other than on sockets, an exception in
data_received does not end a read pipe.
"""

import asyncio

import pytest

from tests.support.interruptions import Interruption, Misdeed, both_errors, run_through
from tests.support.net import capture_errors, only_on, run, turns
from tests.support.payload import pattern
from tests.support.pipes import digest_to_eof, read_pipe, write_pipe
from tests.support.recorders import Recorder


def raising(method, error):
    """A recorder that raises after noting the first call of `method`."""

    class Raising(Recorder):
        def misbehave(self, *args):
            getattr(super(), method)(*args)
            if not self.raised:
                self.raised = True
                raise error

        raised = False

    setattr(Raising, method, Raising.misbehave)
    return Raising


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
def test_reading_goes_on_after_an_exception(loop, method):
    errors = capture_errors(loop)

    async def main():
        async with read_pipe(raising(method, Misdeed)) as (protocol, writer):
            writer.write(b"one")
            assert await protocol.read(3) == b"one"
            writer.write(b"two")
            assert await protocol.read(3) == b"two"
            writer.close()
            assert await protocol.lost is None

    run(loop, main())
    assert [type(context["exception"]) for context in errors] == [Misdeed]


@both_errors
@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
def test_reading_goes_on_after_an_interruption(loop, method, error):
    async def main():
        async with read_pipe(raising(method, error)) as (protocol, writer):
            writer.write(b"one")
            assert await protocol.read(3) == b"one"
            writer.write(b"two")
            assert await protocol.read(3) == b"two"
            writer.close()
            assert await protocol.lost is None

    assert run_through(loop, main()) == (None, 1)


@pytest.mark.parametrize("method", ["connection_made", "pause_writing", "resume_writing"])
def test_writing_goes_on_after_an_exception(loop, method):
    errors = capture_errors(loop)
    data = pattern(1_000_000)

    async def main():
        async with write_pipe(raising(method, Misdeed)) as (protocol, reader):
            protocol.transport.write(data)
            protocol.transport.close()
            assert (await asyncio.to_thread(digest_to_eof, reader))[0] == len(data)
            assert await protocol.lost is None

    run(loop, main())
    assert [type(context["exception"]) for context in errors] == [Misdeed]


@both_errors
@pytest.mark.parametrize("method", ["connection_made", "resume_writing"])
def test_writing_goes_on_after_an_interruption(loop, method, error):
    """What is unsent stays so, and leaves; asyncio loses count (resume_writing)."""
    data = pattern(1_000_000)

    async def main():
        async with write_pipe(raising(method, error)) as (protocol, reader):
            protocol.transport.set_write_buffer_limits(high=1000)
            protocol.transport.write(data)
            reading = asyncio.ensure_future(asyncio.to_thread(digest_to_eof, reader))
            await protocol.writable.wait()
            protocol.transport.close()
            assert (await reading)[0] == len(data)
            assert await protocol.lost is None

    assert run_through(loop, main()) == (None, 1)


@both_errors
def test_an_interruption_in_pause_writing_reaches_the_writer(loop, error):
    data = pattern(1_000_000)

    async def main():
        async with write_pipe(raising("pause_writing", error)) as (protocol, reader):
            with pytest.raises(error):
                protocol.transport.write(data)
            protocol.transport.close()
            assert (await asyncio.to_thread(digest_to_eof, reader))[0] == len(data)
            assert await protocol.lost is None

    run(loop, main())


@pytest.mark.parametrize("connect", [read_pipe, write_pipe])
def test_an_exception_in_connection_lost_leaves_no_descriptor(loop, connect):
    errors = capture_errors(loop)

    async def main():
        async with connect(raising("connection_lost", Misdeed)) as (protocol, _):
            pipe = protocol.transport.get_extra_info("pipe")
            protocol.transport.close()
            await protocol.lost
            assert pipe.closed

    run(loop, main())
    assert [type(context["exception"]) for context in errors] == [Misdeed]


@pytest.mark.parametrize("connect", [read_pipe, write_pipe])
def test_an_interruption_in_connection_lost_leaves_no_descriptor(loop, connect):
    async def main():
        async with connect(raising("connection_lost", Interruption)) as (protocol, _):
            pipe = protocol.transport.get_extra_info("pipe")
            protocol.transport.close()
            await protocol.lost
            await turns()
            assert pipe.closed

    assert run_through(loop, main()) == (None, 1)


@only_on("loopx")
def test_a_protocol_without_the_callbacks(loop):
    """Each is missed once, and the pipe ends all the same; with asyncio it never does."""
    errors = capture_errors(loop)

    class Bare(asyncio.BaseProtocol):
        def __init__(self):
            self.lost = loop.create_future()

        def connection_made(self, transport):
            self.transport = transport

        def connection_lost(self, error):
            self.lost.set_result(error)

    async def main():
        async with read_pipe(Bare) as (protocol, writer):
            writer.write(b"x")
            writer.close()
            assert await protocol.lost is None

    run(loop, main())
    assert [type(context["exception"]) for context in errors] == [AttributeError] * 2


@pytest.mark.parametrize("how", ["stop", "forget"])
def test_data_received_that_stops_or_forgets(loop, how):
    class Odd(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if how == "stop":
                loop.stop()
            else:
                self.transport = None

    async def main():
        async with read_pipe(Odd) as (protocol, writer):
            transport = protocol.transport
            writer.write(b"x")
            await protocol.received(1)
            writer.write(b"y")
            await protocol.received(2)
            protocol.transport = transport

    task = loop.create_task(main())
    task.add_done_callback(lambda _task: loop.stop())
    while not task.done():
        loop.run_forever()
    task.result()
