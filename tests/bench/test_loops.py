"""Loops in an environment of their own: the same loop without a GIL, where Python can do without.

Owns: child processes. Thread: the test's own.
"""

import json
import subprocess
import sys

import pytest

from bench import leads, loops
from bench.paths import ROOT


def test_a_loop_gets_its_environment(monkeypatch):
    """A module that takes --loop and prints what it was given."""
    spec = loops.LoopSpec("odd", "asyncio", environment={"PYTHONHASHSEED": "7"})
    monkeypatch.setitem(loops.LOOPS, "odd", spec)
    command = loops.loop_command("odd", "tests.bench.show_process", "--more")
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    assert json.loads(output) == ["7", "--loop", "odd", "--more"]


def test_without_a_gil_where_python_can():
    result = loops.probe("loopx-nogil")
    if loops.CAN_DO_WITHOUT_GIL:
        assert result.version == loops.probe("loopx").version is not None
    else:
        assert result.absent == "this Python cannot do without its GIL"


@pytest.mark.skipif(not loops.CAN_DO_WITHOUT_GIL, reason="this Python has its GIL always")
@pytest.mark.parametrize(("loop", "enabled"), [("loopx", True), ("loopx-nogil", False)])
def test_the_gil_is_as_the_name_says(loop, enabled, monkeypatch):
    monkeypatch.delenv("PYTHON_GIL", raising=False)
    code = "import loopx._core, sys; print(sys._is_gil_enabled())"
    *settings, _, _, _, _, _ = loops.loop_command(loop, "bench.loops")
    command = [*settings, sys.executable, "-W", "ignore", "-c", code]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(enabled)


def test_loopx_is_no_rival_of_itself():
    assert [loops.is_subject(name) for name in ("loopx", "loopx-nogil", "uvloop", "c-epoll")] == [
        True, True, False, False]
    run = {"round": 0, "position": 0, "metrics": {"requests_per_second": 1.0}}
    faster = {**run, "metrics": {"requests_per_second": 2.0}}
    row = {"name": "echo", "runs": [{**run, "loop": "loopx"}, {**faster, "loop": "loopx-nogil"}],
           "summary": {"loopx": {}, "loopx-nogil": {}}}
    assert leads.leads_of({"rows": [row]}) == []
