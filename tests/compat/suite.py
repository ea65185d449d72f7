"""Loads CPython's `test.test_asyncio`, and makes loopx the loop that its tests get.

Owns the list of modules, the counted loop, and the patches by which whatever these tests do for a
loop (`asyncio.new_event_loop`, `asyncio.SelectorEventLoop`, the policy, `new_test_loop`) gives
them ours.  Runs on the thread of the tests.  It must not change the classes that it loads, nor
leave a patch behind: other tests of the same process use asyncio's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import importlib
import importlib.util
import socket
import unittest
from asyncio import base_events, events, unix_events
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tests.compat.left_out import LEFT_OUT
from tests.support.loops import selected_kinds

PACKAGE = "test.test_asyncio"
# What LOOPX_TEST_LOOPS=asyncio is for: to see what these tests say of asyncio's own loop here.
KIND = "loopx" if "loopx" in selected_kinds() else "asyncio"
MODULES = (
    "buffered_proto",
    "context",
    "eager_task_factory",
    "events",
    "free_threading",
    "futures",
    "futures2",
    "graph",
    "locks",
    "pep492",
    "queues",
    "runners",
    "sendfile",
    "server",
    "server_context",
    "sock_lowlevel",
    "ssl",
    "sslproto",
    "staggered",
    "streams",
    "subprocess",
    "taskgroups",
    "tasks",
    "threads",
    "timeouts",
    "unix_events",
    "waitfor",
)


def available() -> bool:
    """Whether this interpreter has the tests; Debian's comes without."""
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ModuleNotFoundError:
        return False


BaseLoop: Any = (
    importlib.import_module("loopx").Loop if KIND == "loopx" else asyncio.SelectorEventLoop
)


class CountedLoop(BaseLoop):
    """The loop under test, which knows how many there were.  It takes a selector in vain."""

    made = 0

    def __init__(self, selector: object = None) -> None:
        super().__init__()
        CountedLoop.made += 1

    if KIND == "loopx":
        # Private names of asyncio's by which these tests do what has a public name as well.
        _add_reader = BaseLoop.add_reader
        _remove_reader = BaseLoop.remove_reader
        _add_writer = BaseLoop.add_writer
        _remove_writer = BaseLoop.remove_writer

        @property
        def _ready(self) -> range:
            return range(self.stats()["ready"])

        def _run_once(self) -> None:
            self.call_soon(self.stop)
            self.run_forever()

        def _stop_serving(self, sock: socket.socket) -> None:
            self.remove_reader(sock)
            sock.close()


class CurrentLogger:
    """asyncio's logger, as tests that replace it want it to be looked up: each time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(base_events.logger, name)


def default_policy() -> Any:
    """The class of asyncio's default policy: names changed with its deprecation."""
    return unix_events._UnixDefaultEventLoopPolicy  # type: ignore[attr-defined]


class Loops:
    """How many loops a test made: ours, and others that have asyncio's base class."""

    def __init__(self) -> None:
        self.ours = 0
        self.others = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Give out ours wherever asyncio's is asked for, and count."""
        init = base_events.BaseEventLoop.__init__
        made_before = CountedLoop.made

        def counting_init(loop: Any) -> None:
            self.others += not isinstance(loop, CountedLoop)
            init(loop)

        replaced = [
            (asyncio, "SelectorEventLoop", CountedLoop),
            (asyncio, "EventLoop", CountedLoop),
            (default_policy(), "_loop_factory", CountedLoop),
            (asyncio, "BaseEventLoop", CountedLoop),
            (base_events.BaseEventLoop, "__init__", counting_init),
        ]
        if KIND == "loopx":
            reporting = importlib.import_module("loopx.reporting")
            replaced.append((reporting, "logger", CurrentLogger()))
            handle = importlib.import_module("loopx._core").ThreadSafeHandle
            replaced.append((events, "_ThreadSafeHandle", handle))
        with contextlib.ExitStack() as patches:
            for owner, name, value in replaced:
                if hasattr(owner, name):
                    patches.enter_context(mock.patch.object(owner, name, value))
            yield
        self.ours = CountedLoop.made - made_before


def new_test_loop(case: Any, generator: Any = None) -> asyncio.AbstractEventLoop:
    """Stands in for `test_utils.TestCase.new_test_loop`, which makes a loop without any I/O.

    With a generator, its clock is the test's as well; that is no loop of ours.
    """
    if generator is not None:
        return type(case).__base__.new_test_loop(case, generator)
    loop = CountedLoop()
    case.set_event_loop(loop)
    return loop


def name_of(case: type, test: str) -> str:
    """The name that the tables of left_out.py know a test by."""
    module = case.__module__.rpartition(".test_")[2]
    return f"{module}.{case.__name__}.{test}"


def reason_left_out(name: str) -> str | None:
    """Why this test ("module.Class.test") is not run; None when it is."""
    for pattern, reason in LEFT_OUT.items():
        if fnmatch.fnmatchcase(name, pattern):
            return reason
    return None


def case_on_our_loop(case: type[unittest.TestCase]) -> type[unittest.TestCase] | None:
    """A subclass that runs on our loop and lacks what is left out; None if nothing remains."""
    names = unittest.defaultTestLoader.getTestCaseNames(case)
    left_out = [name for name in names if reason_left_out(name_of(case, name))]
    if len(left_out) == len(names):
        return None
    overrides: dict[str, Any] = dict.fromkeys(left_out)
    if hasattr(case, "new_test_loop"):
        overrides["new_test_loop"] = new_test_loop
    if getattr(case, "loop_factory", None) is not None:
        overrides["loop_factory"] = CountedLoop
    overrides["__module__"] = case.__module__
    return type(case.__name__, (case,), overrides)


def cpython_cases() -> Iterator[type[unittest.TestCase]]:
    """Every test class of the modules that this version of Python has."""
    for module in MODULES:
        try:
            loaded = importlib.import_module(f"{PACKAGE}.test_{module}")
        except ModuleNotFoundError:
            continue
        for value in vars(loaded).values():
            if isinstance(value, type) and issubclass(value, unittest.TestCase):
                if value.__module__ == loaded.__name__:
                    yield value


def load_cases() -> dict[str, type[unittest.TestCase]]:
    """Every test class that is run, by the name under which pytest shows it."""
    found = {}
    for original in cpython_cases():
        case = case_on_our_loop(original)
        if case is not None:
            found[name_of(case, "").strip(".").replace(".", "_")] = case
    return found
