"""Runs a piece of Python in a process of its own, with the kind of loop under test.

For what would harm the process of the tests: signals to the main thread, interpreter exit,
environment variables.  A script finds `new_loop` defined, and says what it saw on its standard
output.  Used from the thread that runs the tests.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.children import environment
from tests.support.patience import PATIENCE

TIMEOUT_S = 30.0 * PATIENCE

PREAMBLE = {
    "uvloop": "import asyncio, uvloop\nnew_loop = uvloop.new_event_loop\n",
    "asyncio": "import asyncio\nnew_loop = asyncio.SelectorEventLoop\n",
    "loopx": "import asyncio\nimport loopx\nnew_loop = loopx.new_event_loop\n",
}


def command(kind: str, source: str, *options: str) -> list[str]:
    body = PREAMBLE[kind] + textwrap.dedent(source)
    return [sys.executable, *options, "-c", body]


def run_script(
    kind: str, source: str, *options: str, timeout_s: float = TIMEOUT_S, **extra: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end; `options` go to the interpreter, keywords into the environment."""
    return subprocess.run(
        command(kind, source, *options),
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


@contextmanager
def running_script(
    kind: str, source: str, *options: str, **extra: str
) -> Iterator[subprocess.Popen[str]]:
    """A running script with pipes for its output; killed if it is still there at the end."""
    process = subprocess.Popen(
        command(kind, source, *options),
        env=environment(PYTHONUNBUFFERED="1", **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
