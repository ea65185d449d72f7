"""One run: one row measured on one loop, from starting the server to ending it.

Owns how each group of rows is measured, by a fresh server or by one that is kept for more runs.
Returns the figures of a clean run and raises RunError for any other; it never returns part of one.
Used from the driver's main thread only.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.build import BuildError, executable
from bench.certificates import issue_certificate
from bench.clients import Metrics, idle_connections, run_echo_load, run_wrk
from bench.core_distance import core_distance
from bench.loops import loop_command
from bench.machine_use import machine_use
from bench.micro import WITH_BOTH_CORES
from bench.paths import LOAD_CORE, SERVER_CORE
from bench.processes import RunError, Server, run_pinned
from bench.results import is_disturbed
from bench.rows import LIMITS, SERVED_GROUPS, Row, whole_seconds

MICRO_TIMEOUT_SECONDS = 120.0
ANSWER_TIMEOUT_SECONDS = 5.0
WARM_CONNECTIONS = 64
WARMUP_SECONDS = 0.5
LIMIT_COMMANDS = {
    "c-epoll": ("echo_epoll",),
    "c-uring": ("echo_uring", "multishot"),
    "c-uring-bulk": ("echo_uring", "oneshot"),
    "c-epoll-own": ("echo_epoll", "own"),
}

MeasureOnce = Callable[[], Metrics]


def measure(row: Row, loop: str, seconds: float) -> Metrics:
    """Measure ``row`` once on ``loop`` (a loop's name or one of the C limits).

    ``seconds`` is the length of the measured window, for rows that have one.
    """
    if row.group in SERVED_GROUPS:
        with checked_server(row, loop) as (server, ca_file):
            return measure_window(row, server, ca_file, seconds, warm_up=True)
    if row.name == "memory-idle-connection":
        return measure_idle_memory(row, loop)
    return measure_micro(row, loop)


def measure_undisturbed(measure_once: MeasureOnce, retries: int) -> Metrics:
    """Measure once, and again up to ``retries`` times while the machine disturbs the run.

    What is measured has no say in it: the CPU time of other processes and the cores' distance have.
    """
    metrics = measure_once()
    for _ in range(retries):
        if not is_disturbed(metrics, core_distance.near_ns):
            break
        metrics = measure_once()
    return metrics


@contextmanager
def warm_server(row: Row, loop: str, seconds: float) -> Iterator[MeasureOnce]:
    """Run the row's server and warm it up; yield what measures a window, as often as it is called.

    A server that has ended since the last window is a RunError of the next.
    """
    with checked_server(row, loop) as (server, ca_file):
        measure_window(row, server, ca_file, WARMUP_SECONDS, warm_up=False)

        def measure_once() -> Metrics:
            server.check_alive()
            return measure_window(row, server, ca_file, seconds, warm_up=False)

        yield measure_once


@contextmanager
def serving(row: Row, loop: str) -> Iterator[tuple[Server, Path | None]]:
    """Run the row's server on its core; yield it with its certificate authority, if it has one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ca_file = Path(folder) / "ca.pem" if row.kind.endswith("tls") else None
        with Server(server_command(row, loop, ca_file), SERVER_CORE) as server:
            yield server, ca_file


def server_command(row: Row, loop: str, ca_file: Path | None) -> list[str]:
    """Return the command of the row's server on a loop, or of a C limit."""
    if loop in LIMITS and ca_file is not None:
        pem_file = ca_file.with_name("server.pem")
        issue_certificate(ca_file).private_key_and_cert_chain_pem.write_to_path(str(pem_file))
        try:
            return [str(executable("echo_tls")), str(pem_file)]
        except BuildError as error:
            raise RunError(str(error)) from error
    if loop in LIMITS and row.group == "transfer":
        sizes = (row.parameters[name] for name in ("size_bytes", "answer_bytes"))
        return [str(executable("transfer_epoll")), *map(str, sizes)]
    if loop in LIMITS:
        program, *mode = LIMIT_COMMANDS[loop]
        return [str(executable(program)), *mode]
    command = loop_command(loop, "bench.servers", "--kind", row.kind)
    if "size_bytes" in row.parameters:
        command += ["--size", str(row.parameters["size_bytes"])]
    if "answer_bytes" in row.parameters:
        command += ["--answer", str(row.parameters["answer_bytes"])]
    if ca_file is not None:
        command += ["--ca", str(ca_file)]
    return command


@contextmanager
def checked_server(row: Row, loop: str) -> Iterator[tuple[Server, Path | None]]:
    """Run the row's server, and look at its answer before it is measured, if it is a web server's.

    The load generator of echo rows looks at every answer.
    """
    with serving(row, loop) as (server, ca_file):
        if row.group == "web":
            check_answer(url_of(server, ca_file), ca_file, row.kind)
        yield server, ca_file


def url_of(server: Server, ca_file: Path | None) -> str:
    """Return where a web server answers."""
    return f"{'http' if ca_file is None else 'https'}://localhost:{server.port}/"


def measure_window(
    row: Row, server: Server, ca_file: Path | None, seconds: float, warm_up: bool
) -> Metrics:
    """Measure a server once: with wrk (in whole seconds), or an echo with the C load generator."""
    connections = row.parameters["connections"]
    if row.group == "web":
        url = url_of(server, ca_file)
        return run_wrk(server, url, connections, whole_seconds(seconds), warm_up)
    return run_echo_load(
        server, connections, row.parameters["size_bytes"], seconds, ca_file, warm_up,
        answer_bytes=row.parameters.get("answer_bytes"),
    )


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves an answer that sends elsewhere what it is: not the expected one."""

    def redirect_request(self, *_: object) -> None:
        return None


def check_answer(url: str, ca_file: Path | None, kind: str) -> None:
    """Raise RunError unless ``url`` answers 200 with what this kind of server is to answer."""
    from bench.servers.web import ANSWERS

    context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
    https = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(NoRedirect, https)
    try:
        with opener.open(url, timeout=ANSWER_TIMEOUT_SECONDS) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:  # It holds the connection.
            raise RunError(f"{url} answers {error.code} {error.reason}") from error
    except OSError as error:
        raise RunError(f"{url} does not answer: {error}") from error
    if status != 200 or body != ANSWERS[kind]:
        raise RunError(f"{url} answers {status} {body[:100]!r}")


def measure_idle_memory(row: Row, loop: str) -> Metrics:
    """Measure the growth of the server's resident memory for each idle connection, in KiB.

    The server has served 64 connections before, so that what a loop makes once is not counted.
    """
    connections, size_bytes = row.parameters["connections"], row.parameters["size_bytes"]
    with serving(row, loop) as (server, _), machine_use(server.pid) as use:
        with idle_connections(server, WARM_CONNECTIONS, size_bytes):
            before = server.resident_bytes()
        with idle_connections(server, connections, size_bytes):
            grown = server.resident_bytes() - before
        server.check_alive()
    figures = {"resident_kib": grown / 1024 / connections, "base_kib": before / 1024}
    return figures | use


def measure_micro(row: Row, loop: str) -> Metrics:
    """Run a micro-benchmark in a fresh process, on the server's core."""
    cores = [SERVER_CORE]
    if row.kind in WITH_BOTH_CORES:
        cores.append(LOAD_CORE)
    command = loop_command(loop, "bench.micro", "--bench", row.kind)
    with machine_use(None) as use:
        output = run_pinned(command, cores, MICRO_TIMEOUT_SECONDS)
    figures: Metrics = json.loads(output.splitlines()[-1])
    figures.pop("samples_ns", None)
    return figures | use
