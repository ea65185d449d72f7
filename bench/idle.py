"""Active connections beside very many idle ones: ``python -m bench.idle``.

100,000 idle TCP connections are held, each after one exchange, while 64 active ones echo 1 KiB: by
one server, or, where a process may not have as many descriptors, by it and as many more servers of
the same loop as that takes. The active ones are measured before, beside and after the idle ones, in
the first server; the ratio is that of 'beside' to the mean of the other two. Its resident memory
grows by so much for each idle connection of its own. Owns the plan and the holders: processes with
a loopback address each, since ports and descriptors of one do not suffice. Writes
``bench/results/idle.json``.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

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
MOST_CONNECTIONS = 1_000_000
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


def shares(connections: int, at_most: int) -> list[int]:
    """Divide connections into parts of ``at_most``, and what is left."""
    return [min(at_most, connections - first) for first in range(0, connections, at_most)]


def idle_row(connections: int) -> Row:
    """Return the row of so many idle connections."""
    servers = len(shares(connections, most_idle_connections()))
    title = f"{connections:,} idle connections" + (f" of {servers} servers" if servers > 1 else "")
    return Row(
        f"idle-{connections}", "idle", "protocol", "ratio", "", title, higher_is_better=True,
        parameters={"connections": connections, "servers": servers, "size_bytes": IDLE_BYTES},
    )


def open_idle(
    stack: ExitStack, server: Server, connections: int, address_numbers: Iterator[int]
) -> None:
    """Have holders open ``connections``, each from an address of its own, until the stack ends."""
    at_most = min(CONNECTIONS_PER_ADDRESS, descriptor_limit() - OTHER_DESCRIPTORS)
    for share in shares(connections, at_most):
        number = next(address_numbers)
        source = f"127.0.{number // 250}.{number % 250 + 2}"
        stack.enter_context(idle_connections(server, share, IDLE_BYTES, source))


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

    own, *others = shares(row.parameters["connections"], most_idle_connections())
    address_numbers = count()
    with serving(row, loop) as (server, _):
        with idle_connections(server, WARM_CONNECTIONS, IDLE_BYTES):
            descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        before = measure_active(server)
        resident = server.resident_bytes()
        with ExitStack() as holders:
            open_idle(holders, server, own, address_numbers)
            grown = server.resident_bytes() - resident
            for share in others:
                another, _ = holders.enter_context(serving(row, loop))
                open_idle(holders, another, share, address_numbers)
            beside = measure_active(server)
        await_descriptors(server, descriptors)
        after = measure_active(server)
    alone = {
        f"alone_{name}": (before[name] + after[name]) / 2
        for name in ("requests_per_second", "cpu_us_per_request", "p50_us", "p99_us")
    }
    ratio = beside["requests_per_second"] / alone["alone_requests_per_second"]
    for name in ("other_cpu_share", "steal_share", "core_distance_ns"):
        beside[name] = max(each[name] for each in (before, beside, after))
    return beside | alone | {"ratio": ratio, "resident_kib": grown / 1024 / own}


def main() -> int:
    """Measure, print and write; return 0 only if every run was clean."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=main.__doc__)
    parser.add_argument(
        "--connections", type=at_least(1), metavar="N",
        help="idle ones (default 100,000)",
    )
    parser.add_argument("--rounds", type=at_least(1), default=3)
    parser.add_argument("--seconds", type=time_s, default=2.0, help="of each window (default 2)")
    parser.add_argument("--output", default="idle", metavar="NAME")
    arguments = parser.parse_args()
    connections = arguments.connections or WANTED_CONNECTIONS
    if most_idle_connections() < 1:
        parser.error(f"{descriptor_limit()} descriptors (`ulimit -Hn`) are too few")
    if connections > MOST_CONNECTIONS:
        parser.error(f"{MOST_CONNECTIONS:,} idle connections at most: more is not tried")
    probes = {name: probe(name) for name in IDLE_LOOPS}
    result = Report(
        name=arguments.output,
        command=" ".join(["python -m bench.idle", *sys.argv[1:]]),
        parameters={
            "rounds": arguments.rounds, "seconds": arguments.seconds,
            "descriptors": descriptor_limit(),
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
