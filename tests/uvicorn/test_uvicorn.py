"""uvicorn serves a Starlette application with `--loop`, alone and below gunicorn.

Owns: the command lines that the documentation names, each in a process of its own.
Thread: the test's own; it is the client (http.client).
Must not: leave a process behind, or send a signal to the process that runs the tests.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.children import ROOT, environment
from tests.support.net import TIMEOUT_S
from tests.support.payload import MIB, digest, pattern

APP = "tests.support.asgi:app"
FACTORIES = {
    "asyncio": "asyncio:SelectorEventLoop",
    "loopx": "loopx:new_event_loop",
    "uvloop": "uvloop:new_event_loop",
}


@contextlib.contextmanager
def running(loop_kind: str, *command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`python -m command...` until the end of the block; yields it and the port it names."""
    server = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment(LOOPX_TEST_LOOP=FACTORIES[loop_kind]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its workers can be ended even if it cannot end them
    )
    assert server.stdout is not None
    assert server.stderr is not None
    try:
        yield server, announced_port(server)
        server.terminate()
        assert server.wait(timeout=TIMEOUT_S) in (0, -signal.SIGTERM)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdout.close()
        server.stderr.close()


def announced_port(server: subprocess.Popen[str]) -> int:
    """Read the log up to the line that names the address; 0 if that is a Unix path."""
    lines = []
    assert server.stderr is not None
    for line in server.stderr:
        lines.append(line)
        if found := re.search(r"(?:running on|Listening at:) http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
        if "running on unix socket" in line:
            return 0
    raise AssertionError("the server ended: " + "".join(lines))


def uvicorn(loop_kind: str, *options: str) -> list[str]:
    loop = FACTORIES[loop_kind]
    return ["uvicorn", APP, "--loop", loop, "--port", "0", "--no-access-log", *options]


class Client(http.client.HTTPConnection):
    """http.client with one method for a request and its answer."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=TIMEOUT_S)

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        self.request("GET" if body is None else "POST", path, body)
        response = self.getresponse()
        data = response.read()
        assert response.status == 200, data
        return data


@contextlib.contextmanager
def client_of(port: int) -> Iterator[Client]:
    client = Client(port)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_requests(loop_kind: str, parser: str) -> None:
    pytest.importorskip(parser)
    with running(loop_kind, *uvicorn(loop_kind, "--http", parser)) as (_server, port):
        with client_of(port) as client:
            assert json.loads(client.ask("/about"))["loop"] == loop_kind
            for _ in range(200):
                assert client.ask("/hello") == b"hello"
            data = pattern(30 * MIB)
            answer = json.loads(client.ask("/upload", data))
            assert answer == {"size": len(data), "sha256": digest(data)}
            assert digest(client.ask("/download?size=10000000")) == digest(pattern(10_000_000))


def test_many_connections(loop_kind: str) -> None:
    with running(loop_kind, *uvicorn(loop_kind)) as (_server, port):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client_of(port)) for _ in range(100)]
            for _ in range(3):
                for client in clients:
                    client.request("GET", "/hello")
                for client in clients:
                    assert client.getresponse().read() == b"hello"


def test_over_a_unix_path(loop_kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="lx") as folder:
        path = os.path.join(folder, "socket")
        with running(loop_kind, *uvicorn(loop_kind, "--uds", path)):
            with client_of(0) as client:
                client.sock = socket.socket(socket.AF_UNIX)
                client.sock.settimeout(TIMEOUT_S)
                client.sock.connect(path)
                for _ in range(20):
                    assert client.ask("/hello") == b"hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_completes(loop_kind: str, number: signal.Signals) -> None:
    with running(loop_kind, *uvicorn(loop_kind)) as (server, port):
        assert server.stdout is not None
        assert server.stderr is not None
        answers: list[bytes] = []

        def ask() -> None:
            with client_of(port) as client:
                answers.append(client.ask("/slow"))

        asking = threading.Thread(target=ask)
        asking.start()
        assert server.stdout.readline() == "started\n"
        server.send_signal(number)
        for line in server.stderr:
            if "Waiting for" in line:
                break
        assert not answers
        server.send_signal(signal.SIGUSR1)
        asking.join(TIMEOUT_S)
        assert answers == [b"finished"]
        assert server.stdout.readline() == "lifespan over\n"
        server.wait(timeout=TIMEOUT_S)


def test_two_workers(loop_kind: str) -> None:
    """uvicorn's own: processes that are spawned, with one listening socket."""
    with running(loop_kind, *uvicorn(loop_kind, "--workers", "2")) as (server, port):
        wait_until_listening(server, port)
        check_workers(loop_kind, port)


def test_gunicorn(loop_kind: str) -> None:
    """Workers that are forked, with one listening socket."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn_worker")
    worker = "tests.support.asgi_worker.Worker"
    command = ["gunicorn", APP, "-k", worker, "-w", "2", "-b", "127.0.0.1:0"]
    with running(loop_kind, *command) as (_server, port):
        check_workers(loop_kind, port)


def wait_until_listening(server: subprocess.Popen[str], port: int) -> None:
    """uvicorn's parent process names the port before a worker listens on it."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        with contextlib.suppress(ConnectionRefusedError), client_of(port) as client:
            assert client.ask("/hello") == b"hello"
            return
    raise AssertionError("nobody listens")


def check_workers(loop_kind: str, port: int) -> None:
    """Both processes answer, on the loop that was asked for."""
    pids: set[int] = set()
    while len(pids) < 2:  # each request is a new connection: sooner or later the other one's
        with client_of(port) as client:
            answer = json.loads(client.ask("/about"))
            assert answer["loop"] == loop_kind
            pids.add(answer["pid"])
            data = pattern(MIB)
            assert json.loads(client.ask("/upload", data))["sha256"] == digest(data)
