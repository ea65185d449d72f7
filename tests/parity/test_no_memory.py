"""Memory that runs out when a callback is to run.

Owns: a child process whose next allocation fails. Thread: the test's own.
"""

import pytest

from tests.support.children import run_python

WITHOUT_MEMORY = """
import contextvars, sys, _testcapi
from bench.loops import new_event_loop
SHADE = contextvars.ContextVar("SHADE")
loop = new_event_loop(sys.argv[1])
told, ran, kept = [], [], [contextvars.Context() for _ in range(600)]  # and none is free

def leave_no_memory():
    kept.append(SHADE.set("kept"))
    _testcapi.set_nomemory(0, 1)

loop.set_exception_handler(lambda loop, context: told.append(type(context["exception"]).__name__))
for callback in (lambda: kept.append(SHADE.set("kept")), leave_no_memory,
                 lambda: ran.append(1), lambda: ran.append(2), loop.stop):
    loop.call_soon(callback)
loop.run_forever()
_testcapi.remove_mem_hooks()
assert len(ran) + len(told) == 2 and set(told) <= {"MemoryError"}, (ran, told)
loop.close()
"""


def test_no_memory_for_a_context_is_told_to_the_exception_handler(loop_kind):
    pytest.importorskip("_testcapi")
    result = run_python("-c", WITHOUT_MEMORY, loop_kind)
    assert result.returncode == 0, result.stderr
