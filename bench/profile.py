"""Where CPU time goes, by ``perf record -e cpu-clock``: kernel, loop, libc, the rest.

``python -m bench.profile`` drives servers on loops that are compiled, in interleaved rounds, and
multiplies the shares that perf finds by the CPU time per request; ``sleep(0)`` has no server.
It answers what a loop can gain at most: the rest is Python and the application, the same on every
loop. System calls and how often the process slept, to be woken, are counted by ``perf stat`` in a
window of their own, which that slows. Needs perf and the right to use it.
``bench/results/profile.json`` is written; the table's marker is ``profile``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from bench import report
from bench.clients import Metrics
from bench.loops import loop_command, probe
from bench.measure import measure_micro, measure_window, serving
from bench.options import at_least
from bench.paths import LOAD_CORE, SERVER_CORE
from bench.processes import RunError, prepare_child, run_pinned
from bench.results import Report
from bench.rows import SERVED_GROUPS, Row, choose_rows
from bench.schedule import Plan, run_rounds

FREQUENCY_HZ = 4999
PREFIX = "profile-"
SLEEP_ZERO = "micro-sleep-0"
DEFAULT_ROWS = ("echo-protocol-64x1024", "echo-protocol-64x102400", "echo-buffered-64x1024",
                "echo-sock-64x1024",
                "aiohttp-hello-64", "aiohttp-tls-hello-64", "uvicorn-hello-64", SLEEP_ZERO)
# Parts of a process by the object that the code is in; what matches none is "rest".
LOOP_OBJECTS = {"uvloop": "loop.cpython-*", "loopx": "_core.cpython-*",
                "blazio": "_blazio.cpython-*", "rloop": "_rloop.cpython-*"}
PARTS = ("kernel", "loop", "libc", "rest")
COUNTS = {"system_calls": "raw_syscalls:sys_enter", "sleeps": "context-switches"}
CPU_TIME = "task-clock"
SHARE = re.compile(r"^\s*([\d.]+)%\s+(\S+)", re.MULTILINE)
SHARES_TIMEOUT_SECONDS = 60.0
STARTING_SECONDS = 1.0
UNENDING_REPEATS = 1_000_000


def profile_row(name: str) -> Row:
    """Return the profile of an echo or web row, or of ``sleep(0)``."""
    (row,) = choose_rows(name)
    if row.group not in SERVED_GROUPS and name != SLEEP_ZERO:
        raise ValueError(f"{name} has no server")
    return Row(PREFIX + row.name, "profile", row.kind, "cpu_us_per_request", "us", row.title,
               parameters=row.parameters)


def measure_profile(row: Row, loop: str, seconds: int) -> Metrics:
    """Return CPU time per operation in us, in all and of each part, and what was counted."""
    (measured,) = choose_rows(row.name.removeprefix(PREFIX))
    if measured.name == SLEEP_ZERO:
        return profile_alone(measured, loop, seconds)
    with serving(measured, loop) as (server, ca_file):
        window = partial(measure_window, measured, server, ca_file, warm_up=False)
        window(1)
        return profile_process(server.pid, loop, partial(window, seconds))


def profile_alone(row: Row, loop: str, seconds: int) -> Metrics:
    """As measure_profile(), of a benchmark in a process of its own."""
    figures = measure_micro(row, loop)
    figures["cpu_us_per_request"] = figures["best_ns"] / 1000

    def window() -> Metrics:
        time.sleep(seconds)
        return figures

    command = loop_command(loop, "bench.micro", "--bench", row.kind)
    process = subprocess.Popen(
        [*command, "--repeats", str(UNENDING_REPEATS)],
        stdout=subprocess.DEVNULL, preexec_fn=partial(prepare_child, [SERVER_CORE]),
    )
    try:
        time.sleep(STARTING_SECONDS)
        result = profile_process(process.pid, loop, window)
        if process.poll() is not None:
            raise RunError(f"bench.micro ended while it was profiled: {process.returncode}")
        return result
    finally:
        process.kill()
        process.wait()


def profile_process(pid: int, loop: str, window: Callable[[], Metrics]) -> Metrics:
    """Sample the process for one window and count for another; both operate on it all along."""
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples"
        with perf("record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY_HZ),
                  "-p", str(pid), "-o", str(samples)) as complaint:
            figures = window()
        if not samples.exists() or not samples.stat().st_size:
            raise RunError(f"perf recorded nothing: {complaint[0]}")
        shares = shares_of(samples, loop)
    events = ",".join((*COUNTS.values(), CPU_TIME))
    with perf("stat", "-x", ",", "-e", events, "-p", str(pid)) as listing:
        window()
    total = figures["cpu_us_per_request"]
    counts = counts_of(listing[0], total)
    return figures | {f"{part}_us": share * total for part, share in shares.items()} | counts


@contextmanager
def perf(*arguments: str) -> Iterator[list[str]]:
    """Run perf meanwhile; what it wrote to stderr is in the list afterwards."""
    written: list[str] = []
    process = subprocess.Popen(["perf", *arguments], stderr=subprocess.PIPE, text=True)
    try:
        yield written
    finally:
        process.send_signal(signal.SIGINT)
        written.append(process.communicate()[1].strip())


def counts_of(listing: str, cpu_us: float) -> Metrics:
    """Return what perf stat counted, per operation that takes so much CPU time.

    It counts while the process runs, so a count per CPU time does not depend on when it began.
    """
    found = {
        fields[2]: fields[0] for fields in (line.split(",") for line in listing.splitlines())
        if len(fields) > 2
    }
    try:
        counted_us = float(found[CPU_TIME]) * 1000
        return {name: float(found[event]) / counted_us * cpu_us for name, event in COUNTS.items()}
    except (KeyError, ValueError) as error:
        raise RunError(f"perf stat counted nothing: {listing}") from error


def shares_of(samples: Path, loop: str) -> dict[str, float]:
    """Return the share of each part, 0 to 1; together 1."""
    listing = run_pinned(
        ["perf", "report", "-i", str(samples), "--stdio", "-g", "none", "--sort", "dso"],
        [LOAD_CORE], SHARES_TIMEOUT_SECONDS,
    )
    found = [(float(percent), name) for percent, name in SHARE.findall(listing)]
    if not found:
        raise RunError(f"perf report shows no shares:\n{listing}")
    shares = dict.fromkeys(PARTS, 0.0)
    for percent, name in found:
        shares[part_of(name, loop)] += percent / sum(percent for percent, _ in found)
    return shares


def part_of(name: str, loop: str) -> str:
    """Return which part of the process an object belongs to."""
    patterns = ("[[]kernel.kallsyms]", LOOP_OBJECTS[loop], "libc.so*")
    for part, pattern in zip(PARTS, patterns, strict=False):
        if fnmatchcase(name, pattern):
            return part
    return "rest"


def main() -> int:
    """Profile, print and write; return 0 only if every run was clean."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=main.__doc__)
    parser.add_argument("--rows", default=",".join(DEFAULT_ROWS), metavar="A,B")
    parser.add_argument("--loops", default="uvloop,loopx", metavar="A,B")
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument(
        "--seconds", type=at_least(1), default=3, help="of each run (default 3)"
    )
    parser.add_argument("--output", default="profile", metavar="NAME")
    arguments = parser.parse_args()
    try:
        rows = [profile_row(name) for name in arguments.rows.split(",")]
    except ValueError as error:
        parser.error(str(error))
    if unknown := {*arguments.loops.split(",")} - {*LOOP_OBJECTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if shutil.which("perf") is None:
        parser.error("perf is missing (linux-perf)")
    console = report.make_console()
    loops = {name: probe(name).version for name in arguments.loops.split(",")}
    result = Report(
        name=arguments.output,
        command="python -m bench.profile " + " ".join(sys.argv[1:]),
        parameters={"rounds": arguments.rounds, "seconds": arguments.seconds},
        loops={name: version for name, version in loops.items() if version},
        absent={},
    )
    for each in rows:
        row, failures = run_rounds(
            Plan(each, tuple(result.loops), {}), arguments.rounds,
            lambda row, loop: measure_profile(row, loop, arguments.seconds),
            lambda *_: None,
        )
        result.rows.append(row)
        result.failures += failures
    result.complete = True
    result.write()
    report.print_tables(console, result.to_json())
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
