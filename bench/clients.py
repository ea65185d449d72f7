"""The load generators, as functions: the C echo client and wrk.

Owns their command lines and their output. Each call runs the generator on the load's core against
a running server and returns its figures, the server's CPU time included; anything short of a clean
run raises RunError. Used from the driver's main thread only.
"""

from __future__ import annotations

import functools
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.build import executable
from bench.machine_use import machine_use
from bench.paths import BENCH, LOAD_CORE
from bench.processes import RunError, Server, prepare_child, run_pinned

Metrics = dict[str, float]

ECHO_WARMUP_SECONDS = 0.4
WARM_ECHO_WARMUP_SECONDS = 0.1  # of a server that was warm before: connections, the core's caches
WRK_WARMUP_SECONDS = 1  # wrk takes whole seconds
GRACE_SECONDS = 20.0
IDLE_TIMEOUT_SECONDS = 60.0
WRK_ERRORS = ("connect_errors", "read_errors", "write_errors", "not_200", "timeouts")


def run_echo_load(
    server: Server, connections: int, size_bytes: int, seconds: float,
    ca_file: Path | None = None, warm_up: bool = True, *, answer_bytes: int | None = None,
) -> Metrics:
    """Drive an echo server and return requests_per_second, cpu_us_per_request, latencies in us.

    One of transfers answers with ``answer_bytes``.
    """
    warmup_seconds = ECHO_WARMUP_SECONDS if warm_up else WARM_ECHO_WARMUP_SECONDS
    command = [
        str(executable("echo_load")),
        *(("--host", server.unix_name) if server.unix_name else ("--port", str(server.port))),
        *("--server-pid", str(server.pid)),
        *("--connections", str(connections), "--size", str(size_bytes)),
        *("--answer", str(size_bytes if answer_bytes is None else answer_bytes)),
        *("--seconds", str(seconds), "--warmup", str(warmup_seconds)),
    ]
    if ca_file is not None:
        command += ["--ca", str(ca_file)]
    with machine_use(server.pid) as use:
        output = run_load(server, command, seconds + warmup_seconds + GRACE_SECONDS)
    metrics: Metrics = json.loads(output)
    return metrics | use


def run_load(server: Server, command: list[str], timeout_seconds: float) -> str:
    """Run a load generator; if it fails, say what the server has to say about it."""
    try:
        output = run_pinned(command, [LOAD_CORE], timeout_seconds)
    except RunError as error:
        raise RunError(f"{error}{server.notes()}") from error
    server.check_alive()
    return output


def run_wrk(server: Server, url: str, connections: int, seconds: int, warm_up: bool) -> Metrics:
    """Drive a web server with wrk, as ``run_echo_load`` does for echo.

    Any answer other than 200 and any socket error is an error.
    """
    if shutil.which("wrk") is None:
        raise RunError("wrk is not installed: apt-get install wrk")
    command = ["wrk", "-t1", f"-c{connections}", "-s", str(BENCH / "load" / "wrk_report.lua")]
    if warm_up:
        run_load(server, [*command, f"-d{WRK_WARMUP_SECONDS}", url], GRACE_SECONDS)
    with machine_use(server.pid) as use:
        before = server.cpu_seconds()
        output = run_load(server, [*command, f"-d{seconds}", url], seconds + GRACE_SECONDS)
        server_seconds = server.cpu_seconds() - before
    found = [line for line in output.splitlines() if line.startswith("WRK ")]
    if not found:
        raise RunError(f"wrk printed no summary:\n{output}")
    figures: dict[str, Any] = json.loads(found[0].removeprefix("WRK "))
    errors = {name: figures.pop(name) for name in WRK_ERRORS}
    if any(errors.values()) or figures["requests"] == 0:
        raise RunError(f"wrk: {figures['requests']} requests, errors {errors}{server.notes()}")
    figures["requests_per_second"] = figures["requests"] / figures["seconds"]
    figures["cpu_us_per_request"] = server_seconds * 1e6 / figures["requests"]
    figures["server_cpu_share"] = server_seconds / figures["seconds"]
    return figures | use


@contextmanager
def idle_connections(
    server: Server, connections: int, size_bytes: int, source: str | None = None
) -> Iterator[None]:
    """Hold ``connections`` open, each after one exchange, while the block runs.

    An address as ``source`` has ports of its own: one has too few for very many connections.
    """
    command = [str(executable("echo_load")), "--idle", "--port", str(server.port)]
    command += ["--connections", str(connections), "--size", str(size_bytes)]
    if source is not None:
        command += ["--source", source]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=functools.partial(prepare_child, [LOAD_CORE]),
    )
    assert process.stdin and process.stdout and process.stderr
    try:
        ready, _, _ = select.select([process.stdout], [], [], IDLE_TIMEOUT_SECONDS)
        line = os.read(process.stdout.fileno(), 4096) if ready else b""
        if json.loads(line or b"{}").get("idle_connections") != connections:
            process.kill()
            reason = process.stderr.read().decode(errors="replace").strip()
            raise RunError(f"no {connections} idle connections: {reason}{server.notes()}")
        yield
    finally:
        process.stdin.close()  # which is its sign to end
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()
