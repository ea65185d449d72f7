"""Command lines that make no sense: refused with a sentence, and no earlier results are replaced.

Owns: bad arguments of the benchmarks' commands.  Thread: the test's own; commands are children.
Must not: measure anything.
"""

import subprocess
import sys

import pytest

from bench.paths import RESULTS, ROOT

pytest.importorskip("rich")


def modified():
    return {path.name: path.stat().st_mtime_ns for path in RESULTS.glob("*")}


@pytest.mark.parametrize(
    "command, said",
    [
        ("bench.run --rows nonsense", "no row matches 'nonsense'"),
        ("bench.run --loops nonsense", "unknown loop: nonsense"),
        ("bench.run --rounds 0", "0 is less than 1"),
        ("bench.run --rounds many", "invalid whole_number value"),
        ("bench.run --keep 0", "0 is less than 1"),
        ("bench.run --retries -1", "-1 is less than 0"),
        ("bench.run --seconds 0", "0 is no time to measure in"),
        ("bench.run --seconds nan", "nan is no time to measure in"),
        ("bench.demo --rounds 0", "0 is less than 1"),
        ("bench.demo --seconds -3", "-3 is less than 1"),
        ("bench.demo --connections 0", "0 is less than 1"),
        ("bench.profile --rounds 0", "0 is less than 1"),
        ("bench.profile --rows nonsense", "no row matches 'nonsense'"),
        ("bench.profile --rows memory-loop-made", "has no server"),
        ("bench.profile --loops asyncio", "unknown: asyncio"),
        ("bench.instructions --kinds nonsense", "unknown: nonsense"),
        ("bench.instructions --loops rloop", "unknown: rloop"),
        ("bench.instructions --rounds 0", "0 is less than 1"),
        ("bench.idle --connections 0", "0 is less than 1"),
        ("bench.idle --connections 9999999999", "idle connections at most"),
        ("bench.report nonsense", "No such file"),
        ("bench.check --recorded nonsense", "No such file"),
        ("bench.check --rounds 0", "0 is less than 1"),
        ("bench.check --time-limit 0", "0 is no time to measure in"),
    ],
)
def test_refused(command, said):
    before = modified()
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert modified() == before
