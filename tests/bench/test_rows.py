"""Which servers a row compares: the C limits answer every load, encrypted by one of them.

Owns: bench.rows' choice of C limits, and transfers, whose answers are looked at as echoes are.
Thread: the test's own; servers and loads are children.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import create_server, socket

import pytest

from bench.build import executable, has_openssl
from bench.measure import measure
from bench.paths import LOAD_CORE
from bench.processes import RunError, run_pinned
from bench.rows import BULK_BYTES, all_rows

pytest.importorskip("rich")

ECHO_ROWS = [row for row in all_rows() if row.group == "echo"]


def test_c_limits_stand_beside_every_echo():
    assert {row.limits for row in ECHO_ROWS if row.kind == "tls"} == {("c-epoll",)}
    assert all(
        row.limits[:2] == ("c-epoll", "c-uring")
        for row in ECHO_ROWS
        if row.kind not in ("tls", "unix")        # the C servers have no Unix sockets
    )
    assert {row.parameters["size_bytes"] >= BULK_BYTES
            for row in ECHO_ROWS if "c-uring-bulk" in row.limits} == {True}


@pytest.mark.parametrize("kind", ["buffered", "streams", "sock"])
def test_c_server_answers_the_load_of_other_kinds(kind):
    [row] = [row for row in ECHO_ROWS if row.name == f"echo-{kind}-64x1024"]
    for limit in row.limits:
        assert measure(row, limit, 0.1)["requests"] > 0


@pytest.mark.parametrize("loop", ["asyncio", "loopx"])
def test_unix_sockets_are_measured(loop):
    [row] = [row for row in ECHO_ROWS if row.name == "echo-unix-8x1024"]
    figures = measure(row, loop, 0.1)
    assert figures["requests"] > 0 and figures["cpu_us_per_request"] > 0


@pytest.mark.parametrize("row", [row for row in ECHO_ROWS if row.kind == "tls"],
                         ids=lambda row: row.name)
def test_c_server_answers_the_encrypted_load(row):
    if not has_openssl():
        pytest.skip("OpenSSL's headers are missing")
    assert measure(row, "c-epoll", 0.1)["requests"] > 0


TRANSFER_ROWS = [row for row in all_rows() if row.group == "transfer"]


@pytest.mark.parametrize("row", [row for row in TRANSFER_ROWS if "-4x" in row.name],
                         ids=lambda row: row.name)
def test_transfers_are_measured(row):
    if row.kind.endswith("tls") and not has_openssl():
        pytest.skip("OpenSSL's headers are missing")
    for loop in ("loopx", *row.limits):
        figures = measure(row, loop, 0.1)
        assert figures["requests"] > 0 and figures["p50_us"] > 0


def test_a_c_limit_stands_beside_transfers_without_tls():
    assert {(row.kind.endswith("tls"), row.limits) for row in TRANSFER_ROWS} == {
        (True, ()), (False, ("c-epoll",)),
    }


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """A server of one connection, which takes eight bytes and answers once; its port."""

    def serve(listener: socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):      # who finds it wrong ends at once
            connection.sendall(answer(connection.recv(8)))
            connection.recv(1)

    with create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def run_load_of_twelve(port: int) -> str:
    """Eight bytes a request and twelve an answer."""
    command = [str(executable("echo_load")), "--port", str(port), "--connections", "1"]
    command += ["--size", "8", "--answer", "12", "--seconds", "0.1", "--timeout", "1"]
    return run_pinned(command, [LOAD_CORE], 10)


@pytest.mark.parametrize("answer, reason", [
    (lambda request: request * 2, "more bytes came back than are to"),
    (lambda request: (request * 2)[:11], "no echo for 1 s"),
    (lambda request: request + request[4:], "the echo differs from what was sent"),
], ids=["long", "short", "wrong"])
def test_a_wrong_answer_to_a_transfer_is_an_error(answer, reason):
    with answering(answer) as port, pytest.raises(RunError, match=reason):
        run_load_of_twelve(port)
