"""A SubprocessProtocol's callbacks: their order, and what becomes of the rest when one raises.

Runs on asyncio and on loopx, on the main thread.
"""

import pytest

from tests.support.interruptions import INTERRUPTIONS, Misdeed, run_through
from tests.support.loops import ExceptionRecorder
from tests.support.net import run, turns
from tests.support.processes import ProcessRecorder, no_children

__all__ = ["no_children"]

BOTH = ("sh", "-c", "read line; echo out; echo err >&2; exit 3")
CALLBACKS = (
    "connection_made",
    "pipe_data_received",
    "pipe_connection_lost",
    "process_exited",
    "connection_lost",
)


async def converse(loop, factory):
    """Run a program to its end through all callbacks; the protocol."""
    transport, protocol = await loop.subprocess_exec(factory, *BOTH)
    transport.get_pipe_transport(0).write(b"go\n")
    await protocol.lost
    assert transport.get_returncode() == 3
    transport.close()
    await turns()
    return protocol


def check(protocol):
    """Everything was told, once, in an order that asyncio may give."""
    calls = protocol.calls
    assert protocol.data == {1: b"out\n", 2: b"err\n"}
    assert calls[0] == "connection_made" and calls[-1] == "connection_lost"
    assert calls.count("process_exited") == 1
    for fd in (1, 2):
        assert calls.index(("data", fd)) < calls.index(("lost", fd, None))
    # The reader of what we wrote is gone, which is the end of that pipe and no error.
    assert ("lost", 0, None) in calls
    assert len(calls) == 8


def test_the_order_of_the_callbacks(loop):
    check(run(loop, converse(loop, ProcessRecorder)))


def test_without_pipes(loop):
    async def main():
        inherited = dict.fromkeys(("stdin", "stdout", "stderr"))
        transport, protocol = await loop.subprocess_exec(ProcessRecorder, "true", **inherited)
        await protocol.lost
        transport.close()
        return protocol.calls

    assert run(loop, main()) == ["connection_made", "process_exited", "connection_lost"]


def raising(name, error):
    """A recorder whose callback `name` does its work, and raises the first time."""

    def callback(self, *args):
        getattr(ProcessRecorder, name)(self, *args)
        if not self.raised:
            self.raised = True
            raise error

    return type("Raising", (ProcessRecorder,), {name: callback, "raised": False})


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_raises(loop, name):
    """The exception handler hears of it; everything else is told all the same."""
    recorder = ExceptionRecorder(loop)
    check(run(loop, converse(loop, raising(name, Misdeed))))
    assert [type(context["exception"]) for context in recorder.contexts] == [Misdeed]


@pytest.mark.parametrize("name", CALLBACKS)
@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_a_callback_that_interrupts(loop, name, error):
    """It passes through run_forever; when the loop runs again the rest is told."""
    protocol, interrupted = run_through(loop, converse(loop, raising(name, error)))
    check(protocol)
    assert interrupted == 1


@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_closes_the_transport(loop, name):
    def callback(self, *args):
        getattr(ProcessRecorder, name)(self, *args)
        self.transport.close()

    closing = type("Closing", (ProcessRecorder,), {name: callback})

    async def main():
        transport, protocol = await loop.subprocess_exec(closing, *BOTH)
        pipe = transport.get_pipe_transport(0)
        if not pipe.is_closing():
            pipe.write(b"go\n")
        await protocol.lost
        await turns()
        assert protocol.calls[0] == "connection_made"
        assert protocol.calls[-1] == "connection_lost"
        assert protocol.calls.count("process_exited") == 1

    run(loop, main())
