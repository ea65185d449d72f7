"""web.run_app in a process of its own: serving, and going down gracefully on a signal.

Owns: run_app with the loop under test, and through loopx's event loop policy.
Thread: the test's own; it is the client.
Must not: send a signal to the process that runs the tests.
"""

import asyncio
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.net import TIMEOUT_S, only_on
from tests.support.scripts import running_script

APP = """
import signal, socket, sys
from aiohttp import web
from tests.support.web import make_app

async def slow(request):
    print("started", flush=True)
    await release.wait()
    return web.Response(text="finished")

async def which(request):
    return web.Response(text=type(asyncio.get_running_loop()).__module__)

async def startup(app):
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, release.set)

async def shutdown(app):
    print("shutting down", flush=True)

async def cleanup(app):
    print("cleaned up", flush=True)

release = asyncio.Event()
app = make_app()
app.router.add_get("/slow", slow)
app.router.add_get("/which", which)
app.on_startup.append(startup)
app.on_shutdown.append(shutdown)
app.on_cleanup.append(cleanup)
sock = socket.create_server(("127.0.0.1", 0))
"""
RUN = APP + """
print(sock.getsockname()[1], flush=True)
web.run_app(app, sock=sock, print=None, loop=new_loop(), shutdown_timeout=20)
print("ended", flush=True)
"""
RUN_ON_PATH = APP + """
sock.close()
web.run_app(app, path=PATH, print=print, loop=new_loop())
"""
RUN_WITH_POLICY = APP + """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # policies go in Python 3.16
asyncio.set_event_loop_policy(loopx.EventLoopPolicy())
print(sock.getsockname()[1], flush=True)
web.run_app(app, sock=sock, print=None)
print("ended", flush=True)
"""


def line(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().strip()


def get(port: int, path: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_completes(loop_kind: str, number: signal.Signals) -> None:
    with running_script(loop_kind, RUN) as server:
        port = int(line(server))
        assert get(port, "/hello") == (200, b"hello")
        idle = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        answers: list[tuple[int, bytes]] = []
        asking = threading.Thread(target=lambda: answers.append(get(port, "/slow")))
        asking.start()
        assert line(server) == "started"
        server.send_signal(number)
        assert line(server) == "shutting down"
        with pytest.raises(ConnectionRefusedError):
            get(port, "/hello")
        assert idle.recv(10) == b""  # connections without a request are closed
        idle.close()
        assert not answers
        server.send_signal(signal.SIGUSR1)
        asking.join(TIMEOUT_S)
        assert answers == [(200, b"finished")]
        assert line(server) == "cleaned up"
        assert line(server) == "ended"
        assert server.wait(timeout=TIMEOUT_S) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""


def test_an_idle_server_ends_at_once(loop_kind: str) -> None:
    with running_script(loop_kind, RUN) as server:
        port = int(line(server))
        for _ in range(20):
            assert get(port, "/hello") == (200, b"hello")
        server.terminate()
        assert [line(server) for _ in range(3)] == ["shutting down", "cleaned up", "ended"]
        assert server.wait(timeout=TIMEOUT_S) == 0


def test_on_a_unix_path(loop_kind: str, tmp_path: pathlib.Path) -> None:
    path = os.path.relpath(tmp_path / "s")  # the absolute one may be too long for a socket
    source = RUN_ON_PATH.replace("PATH", repr(path))
    with running_script(loop_kind, source) as server:
        assert "Running on http://unix:" in line(server)
        client = http.client.HTTPConnection("localhost")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(TIMEOUT_S)
        client.sock.connect(path)
        client.request("GET", "/hello")
        assert client.getresponse().read() == b"hello"
        client.close()
        server.terminate()
        assert server.wait(timeout=TIMEOUT_S) == 0


@only_on("loopx")
@pytest.mark.skipif(sys.version_info >= (3, 16), reason="Python 3.16 has no event loop policies")
def test_with_our_policy(loop_kind: str) -> None:
    """The application and run_app know nothing of loopx."""
    with running_script(loop_kind, RUN_WITH_POLICY) as server:
        port = int(line(server))
        status, body = get(port, "/which")
        assert status == 200
        assert body.decode().split(".")[0] == "loopx"
        server.terminate()
        assert [line(server) for _ in range(3)] == ["shutting down", "cleaned up", "ended"]
        assert server.wait(timeout=TIMEOUT_S) == 0


def test_the_loop_that_run_app_uses(loop_kind: str) -> None:
    with running_script(loop_kind, RUN) as server:
        port = int(line(server))
        selector = asyncio.SelectorEventLoop.__module__
        expected = selector if loop_kind == "asyncio" else loop_kind
        assert get(port, "/which")[1].decode().startswith(expected)
        server.terminate()
        assert server.wait(timeout=TIMEOUT_S) == 0
