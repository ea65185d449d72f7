"""Where a server's CPU time goes, by ``perf record -e cpu-clock``: kernel, loop, libc, the rest.

``python -m bench.profile`` drives servers on loops that are compiled, in interleaved rounds, and
multiplies the shares that perf finds by the CPU time per request. It answers what a loop can gain
at most: the rest is Python and the application, the same on every loop. Needs perf and the right
to use it. ``bench/results/profile.json`` is written; the table's marker is ``profile``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from bench import report
from bench.clients import Metrics
from bench.loops import probe
from bench.measure import measure_window, serving
from bench.options import at_least
from bench.paths import LOAD_CORE
from bench.processes import RunError, run_pinned
from bench.results import Report
from bench.rows import SERVED_GROUPS, Row, choose_rows
from bench.schedule import Plan, run_rounds

FREQUENCY_HZ = 4999
PREFIX = "profile-"
DEFAULT_ROWS = ("echo-protocol-64x1024", "echo-protocol-64x102400", "echo-buffered-64x1024",
                "echo-sock-64x1024",
                "aiohttp-hello-64", "uvicorn-hello-64")
# Parts of a process by the object that the code is in; what matches none is "rest".
LOOP_OBJECTS = {"uvloop": "loop.cpython-*", "loopx": "_core.cpython-*",
                "blazio": "_blazio.cpython-*", "rloop": "_rloop.cpython-*"}
PARTS = ("kernel", "loop", "libc", "rest")
SHARE = re.compile(r"^\s*([\d.]+)%\s+(\S+)", re.MULTILINE)
SHARES_TIMEOUT_SECONDS = 60.0


def profile_row(name: str) -> Row:
    """Return the profile of an echo or web row."""
    (row,) = choose_rows(name)
    if row.group not in SERVED_GROUPS:
        raise ValueError(f"{name} has no server")
    return Row(PREFIX + row.name, "profile", row.kind, "cpu_us_per_request", "us", row.title,
               parameters=row.parameters)


def measure_profile(row: Row, loop: str, seconds: int) -> Metrics:
    """Return CPU time per request in us, in all and of each part."""
    (served,) = choose_rows(row.name.removeprefix(PREFIX))
    with serving(served, loop) as (server, ca_file), tempfile.TemporaryDirectory() as folder:
        measure_window(served, server, ca_file, 1, warm_up=False)
        samples = Path(folder) / "samples"
        recording = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY_HZ),
             "-p", str(server.pid), "-o", str(samples)],
            stderr=subprocess.PIPE, text=True,
        )
        try:
            figures = measure_window(served, server, ca_file, seconds, warm_up=False)
        finally:
            recording.send_signal(signal.SIGINT)
            _, complaint = recording.communicate()
        if not samples.exists() or not samples.stat().st_size:
            raise RunError(f"perf recorded nothing: {complaint.strip()}")
        shares = shares_of(samples, loop)
    total = figures["cpu_us_per_request"]
    return figures | {f"{part}_us": share * total for part, share in shares.items()}


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
