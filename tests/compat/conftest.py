"""What holds around each of CPython's tests: our loop is asyncio's, and it was really used.

Owns the fixture that says so, and which of them may leave something open.  Runs on the thread of
the tests.  The checks for leaks around every other test hold here as well.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Generator, Iterator
from fnmatch import fnmatch
from typing import Any

import pytest

from tests.compat.left_out import IN_A_CHILD, LEAVES_A_PIPE
from tests.compat.suite import Loops, name_of

PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def pytest_itemcollected(item: pytest.Item) -> None:
    case = getattr(item, "cls", None)
    if (case is not None and fnmatch(name_of(case, item.name), LEAVES_A_PIPE)
            and "stdout" in inspect.getsource(getattr(case, item.name))):
        warning = "ignore:unclosed (transport|file):ResourceWarning"
        item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def our_loops(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[None]:
    """Make asyncio give out our loops; a test that passes must have used them, and no other."""
    if request.instance is None:
        yield
        return
    loops = Loops()
    with loops.counted():
        yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(None)
    # Gone before leaks are looked for: what the test kept, but for the runner still to be closed.
    for name in [name for name in vars(request.instance) if not name.startswith("_asyncio")]:
        delattr(request.instance, name)
    if request.node.stash.get(PASSED, False):
        assert loops.others == 0, "the test ran on another loop"
        name = name_of(request.cls, request.node.name)
        assert loops.ours > 0 or fnmatch(name, IN_A_CHILD), "the test ran on no loop of ours"
