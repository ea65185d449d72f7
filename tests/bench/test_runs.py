"""One run: a server or a load generator that meets anything but the expected is an error.

Owns: runs against servers that misbehave.  Thread: the test's own; all else are child processes.
Must not: need wrk or a compiler to be installed, or look at the speed of anything.
"""

import os
import shutil
import sys

import pytest

from bench.clients import run_echo_load, run_wrk
from bench.measure import check_answer
from bench.processes import RunError, Server, python_command, run_pinned

pytestmark = pytest.mark.skipif(os.cpu_count() == 1, reason="server and load need a core each")
needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None or shutil.which("gcc") is None,     # the cores' probe is compiled
    reason="wrk or gcc is missing",
)


def misbehaving(kind):
    return Server(python_command("tests.bench.misbehaving", kind), 0)


def echo_load(kind):
    with misbehaving(kind) as server:
        return run_echo_load(server, connections=4, size_bytes=1024, seconds=0.2)


def wrk(kind):
    with misbehaving(kind) as server:
        url = f"http://127.0.0.1:{server.port}/"
        return run_wrk(server, url, connections=4, seconds=1, warm_up=False)


@needs_compiler
def test_a_right_echo_gives_figures():
    figures = echo_load("echo")
    assert figures["requests_per_second"] > 0 and figures["cpu_us_per_request"] > 0
    assert figures["core_distance_ns"] > 0


@needs_compiler
def test_an_address_where_nobody_listens_is_an_error():
    with misbehaving("echo") as server:
        server.unix_name = "@nobody-listens-here"
        with pytest.raises(RunError, match="connect to @nobody-listens-here: Connection refused"):
            run_echo_load(server, connections=4, size_bytes=1024, seconds=0.2)


@needs_compiler
@pytest.mark.parametrize("kind", ["echo-wrong", "echo-short", "echo-dropped"])
def test_a_wrong_echo_is_an_error(kind):
    with pytest.raises(RunError, match="echo_load failed"):
        echo_load(kind)


@needs_wrk
def test_right_answers_give_figures():
    figures = wrk("http")
    assert figures["requests_per_second"] > 0 and figures["cpu_us_per_request"] > 0


@needs_wrk
@pytest.mark.parametrize("kind", ["http-204", "http-302"])
def test_an_answer_other_than_200_is_an_error(kind):
    """Though the first ones were right."""
    with pytest.raises(RunError, match=r"'not_200': [1-9]"):
        wrk(kind)


@needs_wrk
def test_dropped_connections_are_an_error():
    with pytest.raises(RunError, match=r"'read_errors': [1-9]|0 requests"):
        wrk("dropped")


def test_the_answer_is_looked_at_before():
    pytest.importorskip("uvicorn")
    with misbehaving("http") as server:
        url = f"http://127.0.0.1:{server.port}/"
        check_answer(url, None, "uvicorn")
        with pytest.raises(RunError, match="302"):
            check_answer(url + "moved", None, "uvicorn")
    with misbehaving("dropped") as server, pytest.raises(RunError, match="does not answer"):
        check_answer(f"http://127.0.0.1:{server.port}/", None, "uvicorn")


@pytest.mark.parametrize(
    "kind, said", [("dead", "(?s)ended before.*rather not"), ("deaf", "unexpected readiness")]
)
def test_a_server_that_is_not_ready_is_an_error(kind, said):
    with pytest.raises(RunError, match=said), misbehaving(kind):
        pass


def test_a_server_that_ends_is_an_error():
    with misbehaving("echo") as server:
        server.check_alive()
        server.process.kill()
        server.process.wait()
        with pytest.raises(RunError, match="SIGKILL"):
            server.check_alive()


def test_a_program_that_fails_or_hangs_is_an_error():
    assert run_pinned([sys.executable, "-c", "print(1)"], [0], 20) == "1\n"
    with pytest.raises(RunError, match="(?s)failed with code 3.*said why"):
        source = "import sys; print('said why', file=sys.stderr); sys.exit(3)"
        run_pinned([sys.executable, "-c", source], [0], 20)
    with pytest.raises(RunError, match="did not end within"):
        run_pinned([sys.executable, "-c", "import time; time.sleep(50)"], [0], 0.2)
