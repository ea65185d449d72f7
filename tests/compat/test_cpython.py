"""CPython's own tests of asyncio, on loopx: see suite.py.

Owns nothing: the classes come from the interpreter that runs this.  LOOPX_TEST_LOOPS=asyncio runs
them on asyncio's own loop instead.
"""

import fnmatch
import sys
import unittest

import pytest

from tests.compat import suite
from tests.compat.left_out import LEFT_OUT, NEWER

if not suite.available():
    pytest.skip("this interpreter comes without its tests", allow_module_level=True)

pytestmark = pytest.mark.logs_errors

CASES = suite.load_cases()
globals().update(CASES)


def names(cases):
    find = unittest.defaultTestLoader.getTestCaseNames
    return {suite.name_of(case, test) for case in cases for test in find(case)}


def test_most_of_them_are_run():
    everything = names(suite.cpython_cases())
    assert len(names(CASES.values())) > max(1000, len(everything) / 2)


@pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="other versions have other tests")
def test_nothing_stale_is_left_out():
    everything = names(suite.cpython_cases())
    assert {name for name in LEFT_OUT if not fnmatch.filter(everything, name)} <= NEWER
