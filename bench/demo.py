"""The demonstration: one aiohttp script, unchanged, on asyncio, uvloop and loopx under wrk.

``python -m bench.demo`` first checks that every route of ``examples/aiohttp_server.py`` answers
right on every loop, then drives each with wrk in interleaved rounds: the server on one core, the
load on the other, a fresh server for every round. It shows progress, prints a table, and writes
``bench/results/demo.json`` and ``demo.png``. Whatever fails is an error and ends it with status 1.
"""

from __future__ import annotations

import argparse
import socket
import sys
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench import report
from bench.build import BuildError
from bench.clients import WRK_WARMUP_SECONDS, Metrics, run_wrk
from bench.loops import probe
from bench.measure import measure_undisturbed
from bench.options import at_least
from bench.paths import EXAMPLES, ROOT, SERVER_CORE
from bench.processes import RunError, Server, python_command
from bench.results import Report, RowResult, Run
from bench.routes_check import CHECKS, check_routes
from bench.rows import Row
from bench.schedule import rotated

LOOPS = ("asyncio", "uvloop", "loopx")
RETRIES = 2
ROUTES = {"hello": "/", "json": "/json"}
SCRIPT = str((EXAMPLES / "aiohttp_server.py").relative_to(ROOT))


def demo_row(name: str, path: str, connections: int) -> Row:
    """Return the row of one route."""
    return Row(
        name=f"demo-{name}-{connections}",
        group="demo",
        kind=name,
        metric="requests_per_second",
        unit="requests/s",
        title=f"GET {path}",
        higher_is_better=True,
        parameters={"connections": connections},
    )


def free_port() -> int:
    """Return a port that is free now: the script takes a number and cannot tell one."""
    with socket.create_server(("127.0.0.1", 0)) as probe_socket:
        return int(probe_socket.getsockname()[1])


def start_server(loop: str) -> Server:
    """Return the server that runs the script on ``loop``, as a user would start it."""
    port = free_port()
    arguments = [SCRIPT, "--port", str(port)]
    if loop == "asyncio":
        command = [sys.executable, *arguments]
    elif loop == "loopx":
        command = python_command("loopx", "run", *arguments)
    else:
        command = python_command("bench.run_on", loop, *arguments)
    return Server(command, SERVER_CORE, port)


def measure_routes(loop: str, connections: int, seconds: int) -> dict[str, Metrics]:
    """Start a fresh server and drive each route; the first run warms it up."""
    figures: dict[str, Metrics] = {}
    with start_server(loop) as server:
        for name, path in ROUTES.items():
            url = f"http://127.0.0.1:{server.port}{path}"
            measure_once = partial(run_wrk, server, url, connections, seconds, not figures)
            figures[name] = measure_undisturbed(measure_once, RETRIES)
    return figures


def check_loops(console: Console, loops: list[str]) -> dict[str, str]:
    """Check every route on every loop; return the loops' versions. Raises RunError."""
    versions = {}
    for loop in loops:
        found = probe(loop)
        if found.version is None:
            raise RunError(f"{loop} cannot be used here: {found.absent}")
        versions[loop] = found.version
        with start_server(loop) as server:
            try:
                check_routes(server.port, f"{loop}.")
            except RunError as error:
                raise RunError(f"{loop}: {error}{server.notes()}") from error
            server.check_alive()
        console.print(
            f"{loop} {found.version}: {', '.join(CHECKS)} answer right", highlight=False
        )
    return versions


def run_demo(console: Console, result: Report, loops: list[str], connections: int) -> None:
    """Drive all loops in interleaved rounds and fill the report."""
    rounds, seconds = result.parameters["rounds"], result.parameters["seconds"]
    rows = {name: RowResult(demo_row(name, path, connections)) for name, path in ROUTES.items()}
    result.rows = list(rows.values())
    progress = Progress(
        TextColumn("{task.description:<60}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("left"), TimeRemainingColumn(), console=console,
    )
    with progress:
        task = progress.add_task("starting", total=rounds * len(loops))
        for number in range(rounds):
            for position, loop in enumerate(rotated(loops, number)):
                progress.update(task, description=f"round {number + 1}: {loop}")
                try:
                    figures = measure_routes(loop, connections, seconds)
                except RunError as error:
                    raise RunError(f"round {number + 1}, {loop}: {error}") from error
                shown = []
                for name, metrics in figures.items():
                    rows[name].runs.append(Run(number, position, loop, metrics))
                    shown.append(f"{ROUTES[name]} {metrics['requests_per_second']:,.0f}/s")
                progress.advance(task)
                progress.console.print(f"round {number + 1}: {loop:8} {'  '.join(shown)}",
                                       highlight=False)
    result.complete = True


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.demo",
        description="Drive one aiohttp script on several loops and compare them.",
    )
    parser.add_argument("--loops", default=",".join(LOOPS), metavar="A,B")
    parser.add_argument("--rounds", type=at_least(1), default=5)
    parser.add_argument(
        "--seconds", type=at_least(1), default=3, help="of each wrk run (default 3)"
    )
    parser.add_argument("--connections", type=at_least(1), default=64)
    parser.add_argument("--output", default="demo", metavar="NAME", help="bench/results/NAME.json")
    return parser.parse_args()


def main() -> int:
    """Check, measure, print, and write; return 0 only if everything was clean."""
    console = report.make_console()
    arguments = parse_arguments()
    from bench import charts  # needs matplotlib, which refusing bad options does not

    loops = arguments.loops.split(",")
    runs = arguments.rounds * len(loops)
    about_seconds = runs * (len(ROUTES) * arguments.seconds + WRK_WARMUP_SECONDS + 1)
    console.print(
        f"{SCRIPT} on {', '.join(loops)}; server on core 0, wrk on core 1 with "
        f"{arguments.connections} connections; about {about_seconds} s", highlight=False
    )
    try:
        versions = check_loops(console, loops)
        result = Report(
            name=arguments.output,
            command="python -m bench.demo " + " ".join(sys.argv[1:]),
            parameters={"rounds": arguments.rounds, "seconds": arguments.seconds},
            loops=versions,
            absent={},
        )
        run_demo(console, result, loops, arguments.connections)
    except (RunError, BuildError) as error:
        console.print(f"FAILED {error}", style="red", highlight=False, markup=False)
        return 1
    path = result.write()
    data = result.to_json()
    report.print_tables(console, data)
    written = [path, *charts.write_charts(data, path.parent)]
    console.print("wrote " + ", ".join(f"bench/results/{each.name}" for each in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
