"""Which servers a row compares: the C limits answer every load, encrypted by one of them.

Owns: bench.rows' choice of C limits.  Thread: the test's own; servers and loads are children.
"""

import pytest

from bench.build import has_openssl
from bench.measure import measure
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
