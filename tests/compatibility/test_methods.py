"""Every method of asyncio.AbstractEventLoop, in its smallest real use.

Owns: nothing; the uses are in uses.py.
Thread: the loop's own.
"""

import asyncio
import inspect

import pytest

from tests.compatibility.uses import USES
from tests.support.net import run


@pytest.mark.parametrize("method", sorted(USES))
def test_method(loop: asyncio.AbstractEventLoop, method: str) -> None:
    use = USES[method]
    if inspect.iscoroutinefunction(use):
        run(loop, use(loop))
    else:
        use(loop)
