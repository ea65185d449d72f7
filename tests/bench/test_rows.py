"""Which servers a row compares: the C limits answer whatever load is not encrypted.

Owns: bench.rows' choice of C limits.  Thread: the test's own; servers and loads are children.
"""

import pytest

from bench.measure import measure
from bench.rows import BULK_BYTES, all_rows

pytest.importorskip("rich")

ECHO_ROWS = [row for row in all_rows() if row.group == "echo"]


def test_c_limits_stand_beside_every_echo_but_tls():
    assert {row.kind for row in ECHO_ROWS if not row.limits} == {"tls"}
    assert {row.parameters["size_bytes"] >= BULK_BYTES
            for row in ECHO_ROWS if "c-uring-bulk" in row.limits} == {True}


@pytest.mark.parametrize("kind", ["buffered", "streams", "sock"])
def test_c_server_answers_the_load_of_other_kinds(kind):
    [row] = [row for row in ECHO_ROWS if row.name == f"echo-{kind}-64x1024"]
    for limit in row.limits:
        assert measure(row, limit, 0.1)["requests"] > 0
