"""Active connections beside very many idle ones: ``python -m bench.idle``.

One server holds up to 100,000 idle TCP connections, each after one exchange, while 64 active ones
echo 1 KiB. The active ones are measured before, beside and after the idle ones, in the same server;
the ratio is that of 'beside' to the mean of the other two. The server's resident memory grows by so
much for each idle connection. Owns the plan and the holders: processes with a loopback address
each, since ports and descriptors of one do not suffice. Writes ``bench/results/idle.json``.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from contextlib import ExitStack

from bench import report
from bench.clients import Metrics, idle_connections, run_echo_load
from bench.loops import probe
from bench.measure import WARM_CONNECTIONS, serving
from bench.options import at_least, time_s
from bench.processes import RunError, Server
from bench.results import Report
from bench.rows import Row
from bench.schedule import Plan, run_rounds

WANTED_CONNECTIONS = 100_000
ACTIVE_CONNECTIONS = 64
ACTIVE_BYTES = 1024
IDLE_BYTES = 64
IDLE_LOOPS = ("uvloop", "loopx")
# What a process has open besides the connections, with room to spare.
OTHER_DESCRIPTORS = 64
# Ports of one address: /proc/sys/net/ipv4/ip_local_port_range has 28,232 by default.
CONNECTIONS_PER_ADDRESS = 25_000
CLOSING_TIMEOUT_SECONDS = 30.0


def descriptor_limit() -> int:
    """Return how many descriptors a process may have here; the hard limit, which all take."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def most_idle_connections() -> int:
    """Return how many idle connections one server can hold here besides the active ones."""
    return descriptor_limit() - ACTIVE_CONNECTIONS - OTHER_DESCRIPTORS


def idle_row(connections: int) -> Row:
    """Return the row of so many idle connections."""
    return Row(
        f"idle-{connections}", "idle", "protocol", "ratio", "", f"{connections:,} idle connections",
        higher_is_better=True, parameters={"connections": connections, "size_bytes": IDLE_BYTES},
    )


def open_idle(stack: ExitStack, server: Server, connections: int) -> None:
    """Have holders open ``connections``, each from an address of its own, until the stack ends."""
    at_most = min(CONNECTIONS_PER_ADDRESS, descriptor_limit() - OTHER_DESCRIPTORS)
    for index, first in enumerate(range(0, connections, at_most)):
        count = min(at_most, connections - first)
        source = f"127.0.0.{index + 2}"
        stack.enter_context(idle_connections(server, count, IDLE_BYTES, source))


def await_descriptors(server: Server, most: int) -> None:
    """Wait until the server has closed all but ``most`` of its descriptors."""
    deadline = time.monotonic() + CLOSING_TIMEOUT_SECONDS
    while (there := len(os.listdir(f"/proc/{server.pid}/fd"))) > most:
        if time.monotonic() > deadline:
            raise RunError(f"the server still has {there} descriptors, {most} before")
        time.sleep(0.05)


def measure_beside_idle(row: Row, loop: str, seconds: float) -> Metrics:
    """Measure active connections before, beside and after the idle ones of one server."""

    def measure_active(server: Server) -> Metrics:
        return run_echo_load(server, ACTIVE_CONNECTIONS, ACTIVE_BYTES, seconds)

    connections = row.parameters["connections"]
    with serving(row, loop) as (server, _):
        with idle_connections(server, WARM_CONNECTIONS, IDLE_BYTES):
            descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        before = measure_active(server)
        resident = server.resident_bytes()
        with ExitStack() as holders:
            open_idle(holders, server, connections)
            grown = server.resident_bytes() - resident
            beside = measure_active(server)
        await_descriptors(server, descriptors)
        after = measure_active(server)
    alone = {
        f"alone_{name}": (before[name] + after[name]) / 2
        for name in ("requests_per_second", "cpu_us_per_request", "p50_us", "p99_us")
    }
    ratio = beside["requests_per_second"] / alone["alone_requests_per_second"]
    for name in ("other_cpu_share", "steal_share"):
        beside[name] = max(each[name] for each in (before, beside, after))
    return beside | alone | {"ratio": ratio, "resident_kib": grown / 1024 / connections}


def main() -> int:
    """Measure, print and write; return 0 only if every run was clean."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=main.__doc__)
    parser.add_argument(
        "--connections", type=at_least(1), metavar="N",
        help="idle ones (default 100,000, or as many as a server may have descriptors for)",
    )
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--seconds", type=time_s, default=2.0, help="of each window (default 2)")
    parser.add_argument("--output", default="idle", metavar="NAME")
    arguments = parser.parse_args()
    most = most_idle_connections()
    connections = arguments.connections or min(WANTED_CONNECTIONS, most)
    if connections > most:
        parser.error(f"{most} idle connections at most: `ulimit -Hn` is {descriptor_limit()}")
    probes = {name: probe(name) for name in IDLE_LOOPS}
    result = Report(
        name=arguments.output,
        command=" ".join(["python -m bench.idle", *sys.argv[1:]]),
        parameters={
            "rounds": arguments.rounds, "seconds": arguments.seconds,
            "wanted": WANTED_CONNECTIONS, "descriptors": descriptor_limit(),
        },
        loops={name: each.version for name, each in probes.items() if each.version},
        absent={name: each.absent for name, each in probes.items() if each.absent},
    )
    row, result.failures = run_rounds(
        Plan(idle_row(connections), tuple(result.loops), {}), arguments.rounds,
        lambda row, loop: measure_beside_idle(row, loop, arguments.seconds), lambda *_: None,
    )
    result.rows.append(row)
    result.complete = True
    result.write()
    report.print_tables(report.make_console(), result.to_json())
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
