"""The registry of event loops that the benchmarks know, looked up by name.

Owns the list, each loop's factory and its known gaps. A loop that is not installed is reported as
absent with the reason; a row that a loop cannot serve is named in its gaps with the reason.
Neither is ever left out silently. Imports of the loops happen only in the process that asks.

``python -m bench.loops`` prints which loops this interpreter has.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from bench.paths import ROOT, without_machine_paths

REFERENCE = "uvloop"
# The one that all this is about.
SUBJECT = "loopx"
PROBE_TIMEOUT_SECONDS = 20.0
CAN_DO_WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


@dataclass(frozen=True)
class LoopSpec:
    """How to get one event loop.

    ``factory`` is the callable in ``module`` that makes a loop; ``gaps`` maps a glob of row names
    to the reason why the loop cannot serve those rows (tried, not assumed); ``distribution`` is
    what has the version, where it is not called as the module. ``environment`` is set for the
    processes that run the loop.
    """

    name: str
    module: str
    factory: str = "new_event_loop"
    distribution: str | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def gap(self, row_name: str) -> str | None:
        """Return why this loop cannot serve the row, or None if it can."""
        for pattern, reason in self.gaps.items():
            if fnmatchcase(row_name, pattern):
                return reason
        return None


@dataclass(frozen=True)
class Probe:
    """Whether a loop can be used here: its version, or the reason why it is absent."""

    name: str
    version: str | None
    absent: str | None


LOOPS = {
    spec.name: spec
    for spec in (
        LoopSpec("asyncio", "asyncio"),
        LoopSpec("uvloop", "uvloop"),
        LoopSpec("loopx", "loopx"),
        LoopSpec(
            "rloop",
            "rloop",
            gaps={
                "*tls*": "create_server(ssl=...) is not implemented",
                "echo-unix-*": "create_unix_server is not implemented",
            },
        ),
        LoopSpec(
            "blazio",
            "blazio",
            gaps={"echo-unix-*": "create_unix_server is not implemented for abstract names"},
        ),
        LoopSpec(
            "zloop",
            "zloop",
            gaps={
                "echo-sock-*": "sock_accept and sock_recv never answer",
                "micro-child-output-mib": "subprocess_exec is not implemented",
            },
        ),
        LoopSpec("zuvloop", "zuvloop"),
        LoopSpec(
            "veloxloop",
            "veloxloop",
            gaps={
                "*tls*": "speaks plain text although it is given a TLS context",
                "echo-*-512x*": "512 connections overflow its submission queue (OSError: SQ full)",
                "echo-buffered-*x102400": "resets the connection",
            },
        ),
        LoopSpec("loopmini", "loopmini"),
        LoopSpec("rsloop", "rsloop"),
        LoopSpec(
            "uringcore",
            "uringcore",
            "UringEventLoop",
            gaps={
                "echo-*": "loses connections (RuntimeError: No buffers available for recv)",
                "*-hello-*": "ends during the run",
                "memory-idle-connection": "loses connections",
            },
        ),
        LoopSpec("kloop", "kloop"),
        LoopSpec("aiofastnet", "bench.fastnet", distribution="aiofastnet"),
        # A free-threaded interpreter turns the GIL on for cffi unless it is told not to.
        LoopSpec("loopx-nogil", "loopx", environment={"PYTHON_GIL": "0"}),
    )
}


def loop_command(name: str, module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of the project, which takes ``--loop``, on a loop."""
    settings = [f"{key}={value}" for key, value in LOOPS[name].environment.items()]
    command = [sys.executable, "-m", module, "--loop", name, *arguments]
    return ["env", *settings, *command] if settings else command


def new_event_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make a loop of the kind called ``name`` in this process.

    Raises KeyError for an unknown name, ImportError if it is not installed, and whatever the
    loop's own factory raises.
    """
    spec = LOOPS[name]
    factory = getattr(importlib.import_module(spec.module), spec.factory)
    loop: asyncio.AbstractEventLoop = factory()
    return loop


def loop_version(name: str) -> str:
    """Return the version of the loop's distribution; the interpreter's for asyncio."""
    if name == "asyncio":
        return platform.python_version()
    if LOOPS[name].module == SUBJECT:
        core = importlib.import_module("loopx._core")
        built = "built as its wheels are" if core.FOLLOWS_PROFILE else "built without a profile"
        return f"{importlib.import_module('loopx').__version__} ({built})"
    try:
        return importlib.metadata.version(LOOPS[name].distribution or LOOPS[name].module)
    except importlib.metadata.PackageNotFoundError:
        module = importlib.import_module(LOOPS[name].module)
        return str(getattr(module, "__version__", "unknown"))


def probe(name: str) -> Probe:
    """Try the loop in a fresh process: a peer that aborts must not take the suite with it."""
    if LOOPS[name].environment.get("PYTHON_GIL") == "0" and not CAN_DO_WITHOUT_GIL:
        return Probe(name, None, "this Python cannot do without its GIL")
    try:
        result = subprocess.run(
            loop_command(name, "bench.loops"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe(name, None, f"hangs: no result after {PROBE_TIMEOUT_SECONDS:g} s")
    if result.returncode == 0:
        return Probe(name, str(json.loads(result.stdout)["version"]), None)
    lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
    return Probe(name, None, without_machine_paths(lines[-1]))


def try_loop(name: str) -> None:
    """Make a loop, run one ``sleep(0)`` on it, close it; print its version as JSON."""
    loop = new_event_loop(name)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    print(json.dumps({"version": loop_version(name)}))


def is_subject(name: str) -> bool:
    """Return whether a loop is loopx, in whatever environment."""
    return name in LOOPS and LOOPS[name].module == SUBJECT


def main() -> int:
    """Print every known loop with its version, or why it is absent."""
    parser = argparse.ArgumentParser(prog="python -m bench.loops", description=main.__doc__)
    parser.add_argument("--loop", choices=LOOPS, help="try one loop in this process")
    arguments = parser.parse_args()
    if arguments.loop is not None:
        try_loop(arguments.loop)
        return 0
    for name in LOOPS:
        result = probe(name)
        print(f"{name:10} {result.version or 'absent: ' + str(result.absent)}")
        for pattern, reason in LOOPS[name].gaps.items():
            print(f"{'':10} not for {pattern}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
