"""Runs Python in a child process with the checkout on its path, for tests of the process itself.

Owns: starting, feeding and reaping the child.  Used from the thread that runs the tests; a child
never outlives the call.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.support.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60.0 * PATIENCE


def environment(**extra: str) -> dict[str, str]:
    """The environment of this process, with the checkout importable from any folder."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    return {**kept, "PYTHONPATH": path, **extra}


def run_python(
    *arguments: str, cwd: Path = ROOT, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with `arguments` to the end, and return what it printed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**(extra or {})),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def output_of(source: str, *arguments: str) -> list[str]:
    """The lines that a piece of Python prints; fails with its traceback unless it succeeds."""
    done = run_python("-c", textwrap.dedent(source), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
