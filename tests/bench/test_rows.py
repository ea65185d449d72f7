"""Which servers a row compares: the C limits answer every load, encrypted by one of them.

Owns: bench.rows' choice of C limits, and transfers, whose answers are looked at as echoes are.
Thread: the test's own; servers and loads are children.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import MSG_PEEK, SO_RCVBUF, SOL_SOCKET, create_server, socket

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
    assert {row.kind for row in ECHO_ROWS if "c-epoll-own" in row.limits} == {"buffered"}


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


def twelve(request: bytes) -> bytes:
    """The right answer to eight bytes."""
    second = int.from_bytes(request, "little") ^ 1
    return request + second.to_bytes(8, "little")[:4]


@contextmanager
def answering(answer: Callable[[bytes], bytes], right: int) -> Iterator[int]:
    """A server of one connection, which answers so after as many right ones; its port."""

    def serve(listener: socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):      # who finds it wrong ends at once
            for _ in range(right):
                connection.sendall(twelve(connection.recv(8)))
            connection.sendall(answer(connection.recv(8)))
            connection.recv(1)

    with create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("right", [0, 500], ids=["first", "later"])
@pytest.mark.parametrize("answer, reason", [
    (lambda request: twelve(request) + b"x", "more bytes came back than are to"),
    (lambda request: twelve(request)[:11], "no (complete )?echo for 1 s"),
    (lambda request: request + request[:4], "the echo differs from what was sent"),
], ids=["long", "short", "unnumbered"])
def test_a_wrong_answer_to_a_transfer_is_an_error(answer, reason, right):
    """Eight bytes a request and twelve an answer."""
    command = [str(executable("echo_load")), "--connections", "1", "--timeout", "1"]
    command += ["--size", "8", "--answer", "12", "--seconds", "2", "--warmup", "0"]
    with answering(answer, right) as port, pytest.raises(RunError, match=reason):
        run_pinned([*command, "--port", str(port)], [LOAD_CORE], 10)


def test_an_answer_before_all_was_sent_is_an_error():
    """Of ten megabytes, which no sender's socket holds."""
    command = [str(executable("echo_load")), "--connections", "1", "--size", "10000000"]
    command += ["--answer", "8", "--seconds", "1", "--warmup", "0"]

    def serve(listener: socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            left = 10_000_000
            head = connection.recv(8, MSG_PEEK)
            while left:                                  # the first is answered rightly
                left -= len(connection.recv(min(left, 100_000)))
            connection.sendall(head)
            connection.sendall(connection.recv(8))
            time.sleep(1)

    with create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(SOL_SOCKET, SO_RCVBUF, 65536)    # else it grows until all ten fit
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        with pytest.raises(RunError, match=r"answered after \d+ of 10000000 bytes"):
            run_pinned([*command, "--port", str(listener.getsockname()[1])], [LOAD_CORE], 10)
        thread.join()
