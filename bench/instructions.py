"""Instructions per operation, counted by callgrind: figures that no other process can disturb.

``python -m bench.instructions`` runs the workloads of ``bench.workloads`` under valgrind, N and 2N
operations, and divides the difference by N, so that beginning and ending cancel. Only user code is
counted, the kernel is not. Owns valgrind's command line and what its dumps mean. Writes
``bench/results/instructions.json``; ``tests/bench/test_instructions.py`` compares with it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from bench import report
from bench.build import executable
from bench.clients import Metrics
from bench.loops import probe
from bench.options import at_least
from bench.paths import SERVER_CORE
from bench.processes import python_command, run_pinned
from bench.results import Report
from bench.rows import Row
from bench.schedule import Plan, run_rounds
from bench.workloads import WORKLOADS

COUNTED_LOOPS = ("asyncio", "uvloop", "loopx")
TIMEOUT_SECONDS = 120.0
# Parts of a process by the object that the code is in; the first pattern that matches counts.
PARTS = {
    "loop": ("*/uvloop/loop.cpython-*", "*/loopx/*.cpython-*"),
    "modules": ("*.cpython-*.so", "*/libssl*", "*/libcrypto*"),
    "python": ("*/libpython*", "*/python3*"),
    "libc": ("*/libc.so*", "*/libm.so*", "*/ld-linux*"),
    "other": ("*",),
}
# Blocks of memory that are asked of Python's allocator or of libc, by the functions called (each
# once, although one allocator asks the other). What an object finds in a free list of its type is
# not among them.
ALLOCATING = re.compile(r"(_PyObject_(Malloc|Calloc|Realloc)|malloc|calloc|realloc)(@@?\S+)?$")
TITLES = {
    "python": "no loop: plain Python, for comparing interpreters",
    "call-soon": "call_soon chain",
    "sleep-0": "sleep(0)",
    "timer": "call_later, then cancel",
    "future": "future wake-up",
    "task": "gather, a task",
    "threadsafe": "call_soon_threadsafe, own thread",
    "echo-1": "echo, protocol, 1 connection",
    "echo-64": "echo, protocol, 64 connections",
    "buffered-64": "echo, buffered protocol, 64 connections",
    "streams-64": "echo, streams, 64 connections",
    "sock-64": "echo, sock, 64 connections",
    "sock-into-64": "echo, sock_recv_into, 64 connections",
    "tls-16": "echo, TLS 1.3, 16 connections",
    "aiohttp-16": "aiohttp hello, 16 connections, with the client",
}


@dataclass(frozen=True)
class Dump:
    """One section of a run, as callgrind wrote it down."""

    name: str
    instructions: Counter[str]
    allocations: int


def counted_row(kind: str) -> Row:
    """Return the row of a workload."""
    return Row(f"instructions-{kind}", "instructions", kind, "instructions", "instructions",
               TITLES[kind], parameters={"operations": WORKLOADS[kind][1]})


def part_of(path: str) -> str:
    """Return which part of the process an object belongs to."""
    for part, patterns in PARTS.items():
        if any(fnmatchcase(path, pattern) for pattern in patterns):
            return part
    raise ValueError(path)


def read_dump(text: str) -> Dump:
    """Read a dump in callgrind's format (valgrind's manual, 'Callgrind Format Specification').

    Positions and names are not compressed. A line after ``calls=`` is the inclusive cost of a call.
    """
    name, part, allocations = "", "other", 0
    caller, called, after_call = "", "", False
    instructions = Counter[str]()
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if line[:1].isdigit():
            if not after_call:
                instructions[part] += int(line.split()[-1])
            after_call = False
        elif key == "ob":
            part = part_of(value)
        elif key == "fn":
            caller = value
        elif key == "cfn":
            called = value
        elif key == "calls":
            after_call = True
            if ALLOCATING.match(called) and not ALLOCATING.match(caller):
                allocations += int(value.split()[0])
        elif not separator and line.startswith("desc: Trigger: Client Request: "):
            name = line.rpartition(": ")[2]
    return Dump(name, instructions, allocations)


def count(kinds: Sequence[str], loop: str) -> dict[str, Metrics]:
    """Count workloads on a loop, all in one process; return the figures per operation.

    Hashes are not randomised, and valgrind lays memory out the same each time.
    """
    os.environ["PYTHONHASHSEED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no",
            "--compress-strings=no", "--compress-pos=no", f"--callgrind-out-file={folder}/dump",
            *python_command("bench.workloads", "--loop", loop, "--kinds", ",".join(kinds)),
            *("--marks", str(executable("callgrind_marks.so"))),
        ]
        done = json.loads(run_pinned(command, [SERVER_CORE], TIMEOUT_SECONDS))
        dumps = [read_dump(path.read_text()) for path in Path(folder).iterdir()]
    by_name = {dump.name: dump for dump in dumps}
    return {kind: per_operation(kind, done[kind], by_name) for kind in kinds}


def per_operation(kind: str, done: dict[str, int], dumps: dict[str, Dump]) -> Metrics:
    """Return what an operation took: the difference of both lengths, divided."""
    operations = done["operations"]
    short, long = (dumps[f"{kind}:{length}"] for length in (operations, 2 * operations))
    figures: Metrics = {
        "instructions": (long.instructions.total() - short.instructions.total()) / operations,
        "allocations": (long.allocations - short.allocations) / operations,
    }
    for part in PARTS:
        figures[part] = (long.instructions[part] - short.instructions[part]) / operations
    for name in ("turns", "system_calls"):
        if f"{name}:{operations}" in done:
            difference = done[f"{name}:{2 * operations}"] - done[f"{name}:{operations}"]
            figures[name] = difference / operations
    return figures


def interpreter() -> str:
    """Return what counts depend on most: Python's minor version, its kind and the architecture."""
    return str(sysconfig.get_config_var("SOABI"))


def main() -> int:
    """Count, print and write; return 0 only if every run was clean."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=main.__doc__)
    parser.add_argument("--kinds", default=",".join(WORKLOADS), metavar="A,B")
    parser.add_argument("--loops", default=",".join(COUNTED_LOOPS), metavar="A,B")
    parser.add_argument("--rounds", type=at_least(1), default=2)
    parser.add_argument("--output", default="instructions", metavar="NAME")
    arguments = parser.parse_args()
    kinds, names = arguments.kinds.split(","), arguments.loops.split(",")
    if unknown := {*kinds} - {*WORKLOADS} | {*names} - {*COUNTED_LOOPS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if shutil.which("valgrind") is None:
        parser.error("valgrind is missing")
    probes = {name: probe(name) for name in names}
    result = Report(
        name=arguments.output,
        command=" ".join(["python -m bench.instructions", *sys.argv[1:]]),
        parameters={"rounds": arguments.rounds, "interpreter": interpreter()},
        loops={name: each.version for name, each in probes.items() if each.version},
        absent={name: each.absent for name, each in probes.items() if each.absent},
    )
    for kind in kinds:
        row, failures = run_rounds(
            Plan(counted_row(kind), tuple(result.loops), {}), arguments.rounds,
            lambda row, loop: count([row.kind], loop)[row.kind], lambda *_: None,
        )
        result.rows.append(row)
        result.failures += failures
        result.write()
    result.complete = True
    result.write()
    report.print_tables(report.make_console(), result.to_json())
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
