"""What cuts a turn of the loop short, or the making of its ring: the rest is done later, once.

Owns: interrupted callbacks and exception handlers; a fork among completions; a ring that cannot
be made; a run that ends while a send waits; a second __init__.
Thread: the test's own; what may crash, hang or run out of descriptors is a process of its own.
Must not: lower a limit of the process that runs the tests, or fork it.
"""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.interruptions import Misdeed, both_errors, run_through
from tests.support.loops import loop, loop_factory, loop_kind  # noqa: F401
from tests.support.net import only_on, turns
from tests.support.scripts import run_script

Loop = asyncio.AbstractEventLoop

COUNT = 6

# ------------------------------------------------------------------ callbacks and handlers

Schedule = Callable[[Loop, Callable[..., None], int], Any]

SCHEDULES: dict[str, Schedule] = {
    "call_soon": lambda loop, callback, number: loop.call_soon(callback, number),
    "call_soon_threadsafe": lambda loop, f, number: loop.call_soon_threadsafe(f, number),
    # All are due when the loop looks.
    "call_at": lambda loop, callback, number: loop.call_at(number - 1e6, callback, number),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@both_errors
@every_schedule
def test_callbacks_of_one_turn(
    loop: Loop, schedule: Schedule, error: type[BaseException]
) -> None:
    seen: list[int] = []

    def callback(number: int) -> None:
        seen.append(number)
        raise error

    async def main() -> None:
        for number in range(COUNT):
            schedule(loop, callback, number)
        while len(seen) < COUNT:
            await asyncio.sleep(0)
        await turns()

    assert run_through(loop, main()) == (None, COUNT)
    assert seen == list(range(COUNT))


@both_errors
def test_readers_of_one_turn(loop: Loop, error: type[BaseException]) -> None:
    """asyncio calls those again that were ready when another was interrupted."""
    seen: list[bytes] = []

    def readable(sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            seen.append(sock.recv(16))
            raise error

    async def main() -> None:
        with contextlib.ExitStack() as stack:
            pairs = [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(COUNT)]
            for ours, theirs in pairs:
                ours.setblocking(False)
                loop.add_reader(ours, readable, ours)
                theirs.sendall(b"%d" % ours.fileno())
            while len(seen) < COUNT:
                await asyncio.sleep(0)
            await turns()
            assert sorted(seen) == sorted(b"%d" % ours.fileno() for ours, _ in pairs)
            for ours, _ in pairs:
                loop.remove_reader(ours)

    assert run_through(loop, main()) == (None, COUNT)


@both_errors
@every_schedule
def test_exception_handler(loop: Loop, schedule: Schedule, error: type[BaseException]) -> None:
    """Each callback fails, and the handler that is told raises in its turn."""
    told: list[BaseException] = []

    def handler(_loop: Loop, context: dict[str, Any]) -> None:
        told.append(context["exception"])
        raise error

    def callback(number: int) -> None:
        raise Misdeed(number)

    async def main() -> None:
        loop.set_exception_handler(handler)
        for number in range(COUNT):
            schedule(loop, callback, number)
        while len(told) < COUNT:
            await asyncio.sleep(0)
        loop.set_exception_handler(None)

    assert run_through(loop, main()) == (None, COUNT)
    assert [failure.args for failure in told] == [(number,) for number in range(COUNT)]


# ------------------------------------------------------------------ processes of their own


def report_of(kind: str, source: str, *arguments: Any) -> Any:
    """Run the script, which finds `arguments` as a list, and return what it printed as JSON."""
    done = run_script(kind, f"arguments = {list(arguments)!r}\n{source}", "-X", "faulthandler")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


FORK = """
import json, os, signal, socket

COUNT, AT = arguments
seen, forked, transports, peers = [], [], [], []

def report(*more):
    os.write(1, json.dumps([*more, seen]).encode() + b"\\n")

class Numbered(asyncio.Protocol):
    def data_received(self, data):
        seen.append(int(data))
        if len(seen) == AT:
            forked.append(os.fork())
            if not forked[0]:
                signal.alarm(20)

async def main():
    for number in range(COUNT):
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(Numbered, sock=ours)
        transports.append(transport)
        peers.append(theirs)
    await asyncio.sleep(0.001)
    for round in range(2):
        for number, peer in enumerate(peers):
            peer.send(b"%d" % (COUNT * round + number))
        while len(seen) < COUNT * (round + 1):
            await asyncio.sleep(0)

async def elsewhere():
    await asyncio.sleep(0.001)
    return "runs"

loop = new_loop()
try:
    loop.run_until_complete(main())
except RuntimeError as error:
    own = new_loop()
    report("child", "process" in str(error), own.run_until_complete(elsewhere()))
    os._exit(0)
_, status = os.waitpid(forked[0], 0)
report("parent", os.waitstatus_to_exitcode(status))
for each in (*transports, *peers):
    each.close()
loop.run_until_complete(asyncio.sleep(0.001))
loop.close()
"""


@only_on("loopx")
@pytest.mark.parametrize("at", [1, 3, COUNT])
def test_fork_among_completions(loop_kind: str, at: int) -> None:
    """The child goes back into the parent's loop: that gives it nothing again, and refuses.

    asyncio's child would go on reading from the sockets that it shares with its parent.
    """
    child, parent = report_of(loop_kind, FORK, COUNT, at)
    *told, seen = parent
    assert told == ["parent", 0]
    assert seen[:COUNT] == list(range(COUNT))
    assert sorted(seen) == list(range(2 * COUNT))
    *told, seen_by_child = child
    assert told == ["child", True, "runs"]
    assert seen_by_child == seen[: len(seen_by_child)]
    assert at <= len(seen_by_child) <= COUNT


NO_DESCRIPTORS = """
import gc, json, os, resource, socket, threading

FREE, QUEUED, TRIES, RECOVERS = arguments
original = resource.getrlimit(resource.RLIMIT_NOFILE)
pairs = [socket.socketpair() for _ in range(QUEUED)]
errors, seen = [], []
loop = new_loop()

def readable(number):
    seen.append(number)
    loop.remove_reader(pairs[number][0])

def attempt():
    try:
        loop.run_until_complete(asyncio.sleep(0.01))
    except loopx.EngineUnavailable as error:
        errors.append(error.errno)
    gc.collect()

for number, (ours, theirs) in enumerate(pairs):
    ours.setblocking(False)
    loop.add_reader(ours, readable, number)
    loop._wait_readable(ours.fileno())
resource.setrlimit(resource.RLIMIT_NOFILE, (128, original[1]))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
for _ in range(FREE):
    os.close(taken.pop())
for _ in range(TRIES):
    attempt()
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
for number in taken:
    os.close(number)
junk = [bytes(200) for _ in range(1000)]
for _, theirs in pairs:
    theirs.send(b"x")
if RECOVERS:
    loop.run_until_complete(asyncio.sleep(0.01))
    while len(seen) < QUEUED:
        loop.run_until_complete(asyncio.sleep(0))
loop.close()
for pair in pairs:
    for sock in pair:
        sock.close()
print(json.dumps([errors, sorted(seen), loop.stats()["operations_in_flight"]]))
"""


@only_on("loopx")
@pytest.mark.parametrize("recovers", [True, False], ids=["recovers", "is closed"])
@pytest.mark.parametrize("queued", [0, 20])
@pytest.mark.parametrize("free", [0, 1])
def test_no_descriptor_for_the_ring(loop_kind: str, free: int, queued: int, recovers: bool) -> None:
    """Each time an error that says so, and what was queued is done when there are descriptors.

    asyncio's loop makes its epoll descriptor when it is made itself.
    """
    (report,) = report_of(loop_kind, NO_DESCRIPTORS, free, queued, 2, recovers)
    assert report == [[errno.EMFILE] * 4, list(range(queued)) if recovers else [], 0]


STOPS = """
import hashlib, json, random, socket

ROUNDS, PIECE = arguments
class HalfOpen(asyncio.Protocol):
    def eof_received(self):
        return True

loop, rnd = new_loop(), random.Random(1)
ours, theirs = socket.socketpair()
theirs.setblocking(False)
ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
transport, _ = loop.run_until_complete(loop.create_connection(HalfOpen, sock=ours))
sent, received = hashlib.sha256(), hashlib.sha256()

def write(size):
    data = rnd.randbytes(size)
    sent.update(data)
    transport.write(data)

def read():
    try:
        while data := theirs.recv(1 << 20):
            received.update(data)
            return True
    except BlockingIOError:
        return True

write(15 * PIECE)
loop.run_until_complete(asyncio.sleep(0.001))
# The peer being done sending hands the waiting send to one of the kernel's worker threads.
theirs.shutdown(socket.SHUT_WR)
for _ in range(ROUNDS):
    # The kernel is about to send more when it is asked to give the send back.
    if rnd.random() < 0.5:
        loop.call_soon(read)
    loop.call_soon(loop.stop)
    loop.run_forever()
    if rnd.random() < 0.5:
        read()
    if rnd.random() < 0.3:
        write(PIECE)
transport.close()

while read():
    loop.run_until_complete(asyncio.sleep(0))
loop.run_until_complete(asyncio.sleep(0.001))
loop.close()
theirs.close()
print(json.dumps(sent.hexdigest() == received.hexdigest()))
"""


def test_stopping_while_a_send_waits(loop_kind: str) -> None:
    """A Unix socket that is full, a run that ends, over and over: no hang, no byte lost."""
    assert report_of(loop_kind, STOPS, 1500, 20_000) == [True]


TWICE = {
    "Loop": """
loop.__init__()
""",
    "Loop, closed": """
loop.close()
loop.__init__()
""",
    "Handle": """
loop.call_soon(seen.append, "fired").__init__(print, (), other)
""",
    "TimerHandle": """
loop.call_later(0, seen.append, "fired").__init__(0, print, (), other)
""",
    "Acceptor": """
acceptor.__init__(other, listener, Late, None, 1)
""",
}
MADE_TWICE = """
import gc, json, socket
from loopx._core import Acceptor

class Early(asyncio.Protocol):
    def connection_made(self, transport):
        transport.abort()

class Late(Early):
    pass

def end():
    seen.append("end")
    loop.stop()

seen, accepted = [], []
loop, other = new_loop(), new_loop()
other.call_later(1, print), other.call_later(2, print)
listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)

def early():
    accepted.append(1)
    return Early()

acceptor = Acceptor(loop, listener, early, None, 8)
acceptor.start()

def again():
    try:
        exec(arguments[0])
    except RuntimeError as error:
        seen.append("made already" in str(error))

again()
if not loop.is_closed():
    loop.call_soon(again)
    client = socket.create_connection(listener.getsockname())
    loop.call_later(0.05, end)
    loop.run_forever()
    client.close()
    acceptor.stop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert accepted == [1]
del acceptor
gc.collect()
other.close()
listener.close()
print(json.dumps(seen))
"""


@only_on("loopx")
@pytest.mark.parametrize("name", TWICE)
def test_a_second_init(loop_kind: str, name: str) -> None:
    """Refused, at rest and in a callback, and the object is what it was before.

    asyncio's classes take it, and then hold the new state.
    """
    (seen,) = report_of(loop_kind, MADE_TWICE, TWICE[name])
    fired = ["fired"] * 2 if "Handle" in name else []
    expected = [True] if "closed" in name else [True, True, *fired, "end"]
    assert sorted(seen, key=str) == sorted(expected, key=str)
