"""What holds for every test: nothing leaks, nothing hangs, nothing fails unseen.

Owns the checks around each test (descriptors, loops, handles, transports, tasks, threads, errors
logged by a loop), the time limit, and the warnings that count as failures.  Runs on the main
thread.  It must not import loopx: a test does, or does not.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import logging
import re
import signal
import sys
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any

import pytest

from tests.support.leaks import Snapshot
from tests.support.patience import PATIENCE, TIME_LIMIT_S

# A test that does not even answer to a signal ends the whole run this much later.
DEAF_GRACE_S = 30.0

MARKERS = (
    "time_limit(seconds): how long the test may take where 60 s are usual, the default",
    "logs_errors: the loop under test is meant to log errors",
    "keeps(pattern): the test leaves behind on purpose, and says why, what the complaints that "
    "match the pattern name (anything without one)",
)
FATAL_WARNINGS = (
    "error::ResourceWarning",
    "error::pytest.PytestUnraisableExceptionWarning",
    "error::pytest.PytestUnhandledThreadExceptionWarning",
)
FAILED = pytest.StashKey[bool]()
FREEZE_EVERY = 200  # tests
TESTS_DONE = itertools.count(1)


class TimeLimitExceeded(SystemExit):
    """Raised by the alarm.

    A SystemExit, because a loop must let that through where it would only log another exception.
    """


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    for line in FATAL_WARNINGS:
        config.addinivalue_line("filterwarnings", line)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it runs in the background so, and children inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    # What importing made is out of the collector's sight from here on: a collection after every
    # test then costs little.
    gc.collect()
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    # So is what the run keeps of the tests so far, their reports for the most part.
    if next(TESTS_DONE) % FREEZE_EVERY == 0:
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def report_descriptor(config: pytest.Config) -> Any:
    """Where a dump of all threads goes: not into the captured output, which dies with us."""
    try:
        from _pytest.faulthandler import fault_handler_stderr_fd_key as key
    except ImportError:
        return sys.__stderr__
    return config.stash.get(key, sys.__stderr__)


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test after its limit; end the run if it does not even notice that."""
    marker = request.node.get_closest_marker("time_limit")
    limit_s = PATIENCE * marker.args[0] if marker else TIME_LIMIT_S

    def expired(number: int, frame: FrameType | None) -> None:
        raise TimeLimitExceeded(f"the test took more than {limit_s:g} s")

    previous = signal.signal(signal.SIGALRM, expired)
    faulthandler.dump_traceback_later(
        limit_s + DEAF_GRACE_S, exit=True, file=report_descriptor(request.config)
    )
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


def forget_what_pytest_keeps(node: pytest.Function) -> None:
    """Drop the values of the fixtures and the log records, which pytest holds until later."""
    if node.funcargs is not None:  # as it is where an interrupt ended the test
        node.funcargs.clear()
    try:
        from _pytest.logging import caplog_records_key as key
    except ImportError:
        return
    for records in node.stash.get(key, {}).values():
        records.clear()


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, time_limit: None) -> Iterator[None]:
    """Fail a test that leaves a descriptor, a loop's object or a thread behind."""
    before = Snapshot()
    yield
    # The traceback of a failed test keeps its frames alive, and with them what they hold.
    marker = request.node.get_closest_marker("keeps")
    if request.node.stash.get(FAILED, False) or (marker and not marker.args):
        return
    forget_what_pytest_keeps(request.node)
    complaints = before.complaints()
    if marker:
        complaints = [line for line in complaints if not re.fullmatch(marker.args[0], line)]
    assert not complaints, "\n".join(complaints)


class ErrorLog(logging.Handler):
    """Keeps what the loops log as errors, formatted at once so that nothing stays alive."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def no_unseen_errors(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[None]:
    """Fail a test during which a loop logged an error that the test did not ask to see.

    A test that takes `caplog` looks for itself; so does one marked `logs_errors`.
    """
    if "caplog" in request.fixturenames or request.node.get_closest_marker("logs_errors"):
        yield
        return
    log = ErrorLog()
    loggers = [logging.getLogger(name) for name in ("asyncio", "loopx")]
    for logger in loggers:
        logger.addHandler(log)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(log)
    assert not log.lines or request.node.stash.get(FAILED, False), "\n".join(log.lines)
