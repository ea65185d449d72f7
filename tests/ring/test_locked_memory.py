"""RLIMIT_MEMLOCK: loopx within a small limit, and while the kernel gives memory back late.

Each test limits a child process, which runs as a user of its own: the kernel counts by user, and
root may lock whatever it likes.  Nothing here looks at the limit's sentences, see test_refusals.py.
"""

from __future__ import annotations

import errno
import os

import pytest

from tests.support.children import output_of

# Nobody else's, not even another run's of the tests: one of those that systemd lends to services.
USER = 61184 + os.getpid() % (65520 - 61184)

LIMIT = """
import asyncio, os, resource, time
import loopx
from loopx.errors import EngineUnavailable
from loopx.ring import control
def limit(kib):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (kib * 1024,) * 2)
    if not os.getuid():
        os.setgroups([])
        os.setgid(%d)
        os.setuid(%d)
""" % (USER, USER)  # fmt: skip

ECHO = """
async def echo(reader, writer):
    while piece := await reader.read(65536):
        writer.write(piece)
    writer.close()

async def ask(messages):
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for message in messages:
            writer.write(message)
            assert await reader.readexactly(len(message)) == message
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    return "answered"
"""


def in_limit(source: str) -> list[str]:
    """What a child prints that may call limit(KiB) and ask(messages)."""
    return output_of(LIMIT + ECHO + source)


def test_without_locked_memory_a_ring_is_made_or_the_limit_named() -> None:
    said = in_limit("""
limit(0)
try:
    control.ensure_available()
    ring = control.RingControl(256, 1024)
    ring.register_buffer_ring(256, 0)
    ring.close()
except EngineUnavailable as failure:
    print(failure.cause, failure.errno, failure)
else:
    print("made")
""")[0]
    if said != "made":
        assert said.startswith(f"ENOMEM {errno.ENOMEM} io_uring is not available")
        assert "RLIMIT_MEMLOCK is 0 bytes" in said


@pytest.mark.parametrize("limit_kib", [64, 1024])
def test_loops_in_a_row_fit_a_small_limit(limit_kib: int) -> None:
    """Each waits once and so has a ring; the kernel gives a closed ring's memory back late."""
    loops = 3 * limit_kib // 64 + 5
    said = in_limit(
        f"limit({limit_kib})\nprint({{loopx.run(ask([b'line'])) for _ in range({loops})}})"
    )
    assert said == ["{'answered'}"]


def test_a_process_waits_for_what_its_predecessor_gives_back() -> None:
    """Its first loop does: here as many rings as fit are there, and go while it is made."""
    said = in_limit("""
limit(64)
control.PATIENCE_SECONDS, patience = 0, control.PATIENCE_SECONDS
rings = []
try:
    while len(rings) < 100:
        rings.append(control.RingControl(control.ENTRIES_MIN, control.ENTRIES_MIN))
except EngineUnavailable:
    control.PATIENCE_SECONDS = patience
def sleep(seconds, sleep=time.sleep):
    while rings:
        rings.pop().close()
    sleep(seconds)
time.sleep = sleep
loopx.new_event_loop().close()
print("there was room" if rings else "made")
""")
    assert said == ["made"]


REGISTRATIONS = """
registrations = []
register = control.RingControl.register_buffer_ring
def noted(*arguments):
    try:
        registered = register(*arguments)
    except EngineUnavailable:
        registrations.append("refused")
        raise
    registrations.append("made")
    return registered
control.RingControl.register_buffer_ring = noted
"""


@pytest.mark.parametrize("limit_kib", [16, 32, 40])
def test_connections_without_memory_for_provided_buffers(limit_kib: int) -> None:
    """There is room for a ring alone. Small pieces, many at that, and a large one are received."""
    said = in_limit(f"""{REGISTRATIONS}
limit({limit_kib})
print(loopx.run(ask([b"line"] * 20 + [bytes(1_000_000)] + [b"line"] * 20)), *registrations)
""")
    assert said == ["answered refused"]


def test_the_next_ring_asks_again_for_provided_buffers() -> None:
    said = in_limit(f"""{REGISTRATIONS}
import threading
limit(1024)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (40 * 1024, 1024 * 1024))
loop = loopx.new_event_loop()
loop.run_until_complete(ask([b"line"]))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1024 * 1024,) * 2)
thread = threading.Thread(target=lambda: loop.run_until_complete(ask([b"line"] * 20)))
thread.start()
thread.join()
loop.close()
print(*registrations)
""")
    assert said == ["refused made"]
