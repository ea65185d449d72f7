"""The checks around every test can fail: each is shown a test that does what it forbids.

Runs pytest in a process of its own, with tests/conftest.py as a plugin, on a file of bad tests.
Uses asyncio's loop only; needs no loopx.
"""

import re
import subprocess
import sys

import pytest

from tests.support.children import environment

BAD_TESTS = '''
import asyncio, logging, os, socket, threading
import pytest
from tests.support import leaks
from tests.support.loops import loop, loop_factory, loop_kind, make_loop

leaks.THREAD_GRACE_S = 0.1
leaks.KEEPS_CLASSES = False    # nothing here needs that leniency
kept = []
release = threading.Event()

def test_clean(loop):
    loop.run_until_complete(asyncio.sleep(0))

def test_leaks_a_descriptor():
    os.pipe()

def test_leaks_a_loop():
    kept.append(make_loop("asyncio"))

def test_leaks_a_handle(loop):
    kept.append(loop.call_later(100, print))

def test_leaks_a_transport(loop):
    ours, theirs = socket.socketpair()
    made, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
    made.abort()
    theirs.close()
    loop.run_until_complete(asyncio.sleep(0))
    kept.append(made)

def test_leaves_a_loop_open(loop_factory):
    kept.append(loop_factory())

def test_leaves_a_task(loop):
    loop.create_task(asyncio.sleep(100))

def test_leaves_a_thread():
    threading.Thread(target=release.wait, daemon=True).start()

def test_drops_an_open_socket():
    socket.socket()

def test_has_an_error_logged(loop):
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(0))

@pytest.mark.logs_errors
def test_may_have_an_error_logged(loop):
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(0))

@pytest.mark.time_limit(0.3)
def test_hangs(loop):
    loop.run_forever()

@pytest.mark.time_limit(0.3)
def test_hangs_in_a_callback(loop):
    loop.call_soon(release.wait)
    loop.run_forever()

def test_fails_in_a_thread():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

def test_clean_after_all_this(loop):
    loop.run_until_complete(asyncio.sleep(0))
'''

GOOD = {"test_clean", "test_may_have_an_error_logged", "test_clean_after_all_this"}
REASONS = {
    "test_leaks_a_descriptor": "descriptor left open",
    "test_leaks_a_loop": "objects left alive: 1 x asyncio.unix_events._UnixSelectorEventLoop",
    "test_leaks_a_handle": "objects left alive: 1 x asyncio.events.TimerHandle",
    "test_leaks_a_transport": "objects left alive: 1 x asyncio.selector_events",
    "test_leaves_a_loop_open": "was left open",
    "test_leaves_a_task": "tasks left on the loop",
    "test_leaves_a_thread": "thread left running",
    "test_drops_an_open_socket": "PytestUnraisableExceptionWarning",
    "test_has_an_error_logged": "ZeroDivisionError",
    "test_hangs": "the test took more than 0.3 s",
    "test_hangs_in_a_callback": "the test took more than 0.3 s",
    "test_fails_in_a_thread": "PytestUnhandledThreadExceptionWarning",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pytest prints about the bad tests."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "test_bad.py").write_text(BAD_TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    plugins = "tests.conftest", "no:cacheprovider", "no:randomly"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", *(f"-p{plugin}" for plugin in plugins)],
        cwd=folder,
        env=environment(LOOPX_TEST_LOOPS="asyncio", LOOPX_TEST_TIME_LIMIT="60"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return result.stdout


def verdicts(report):
    """The names of the tests in the summary, by verdict."""
    found = {}
    for verdict, name in re.findall(r"^(PASSED|FAILED|ERROR) test_bad\.py::(\w+)", report, re.M):
        found.setdefault(verdict, set()).add(name)
    return found


def test_every_bad_test_is_caught_and_no_good_one(report):
    found = verdicts(report)
    assert found["FAILED"] | found["ERROR"] == set(REASONS)
    assert found["PASSED"] - found["ERROR"] - found["FAILED"] == GOOD


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_is_told(report, name):
    sections = re.split(r"^_{3,} (.*?) _{3,}$", report, flags=re.M)
    about = [
        text
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
        if re.search(rf"\b{name}(\[|$| )", title)
    ]
    assert REASONS[name] in "".join(about), about
