"""Targets: what a table says of figures that meet one, miss one, or have none.

Owns bench/targets.py.  Reports are made up, nothing is measured.  Thread: the test's own.
"""

import pytest

pytest.importorskip("rich")

from bench import targets  # noqa: E402
from bench.rows import all_rows  # noqa: E402


def row(name, metric, ratios=None, medians=None):
    loops = {**(ratios or {}), **(medians or {})}
    return {
        "name": name, "title": name, "metric": metric,
        "summary": {
            loop: {
                "ratios": {metric: {"median": value}} if ratios else {},
                "figures": {metric: {"median": value}} if medians else {},
            }
            for loop, value in loops.items()
        },
    }


def lines(*rows):
    return [line for table in targets.make_tables({"rows": list(rows)}) for line in table.rows]


def bulk(**ratios):
    return row("echo-protocol-64x102400", "requests_per_second", ratios=ratios)


def test_a_target_that_is_missed_is_told():
    (missed,) = lines(bulk(uvloop=1.0, loopx=1.15, rloop=1.19, **{"c-epoll": 1.21}))
    assert missed[1:] == ["1.20", "1.15", "0.96, missed", "0.97 (rloop)"]
    (met,) = lines(bulk(uvloop=1.0, loopx=1.26, rloop=1.05))
    assert met[1:] == ["1.20", "1.26", "1.05", "1.20 (rloop)"]


def test_those_that_are_missed_are_listed():
    report = {"name": "io", "rows": [bulk(uvloop=1.0, loopx=1.15), bulk(uvloop=1.0, loopx=1.2)]}
    ((name, line),) = targets.missed(report)
    assert name == "io" and line[2] == "1.15"


def test_where_c_is_the_measure_the_better_server_counts():
    name = "echo-protocol-64x1024"
    ratios = {"uvloop": 1.0, "loopx": 1.21, "c-epoll": 1.3, "c-uring": 1.1}
    (line,) = lines(row(name, "requests_per_second", ratios=ratios))
    assert line[1:4] == ["1.23 (0.95 of C)", "1.21", "0.98, missed"]
    without = lines(row(name, "requests_per_second", ratios={"uvloop": 1.0, "loopx": 1.21}))
    assert without == [], "nothing to compare with"


def test_less_is_better_in_nanoseconds():
    slow, fast = (
        row("micro-sleep-0", "best_ns", medians={"loopx": own, "rloop": 530.0, "uvloop": 1100.0})
        for own in (407.0, 378.0)
    )
    assert [line[1:] for line in lines(slow, fast)] == [
        ["400", "407", "1.02, missed", "1.30 (rloop)"], ["400", "378", "0.94", "1.40 (rloop)"]
    ]


def test_rows_without_loopx_or_a_target_are_left_out():
    assert lines(bulk(uvloop=1.0), row("echo-tls-64x1024", "requests_per_second",
                                       ratios={"uvloop": 1.0, "loopx": 1.3})) == []


def test_targets_are_of_rows_that_there_are():
    names = {row.name for row in all_rows() if row.is_anchor}
    assert {*targets.RATIOS, *targets.OF_LIMIT, *targets.AT_MOST} <= names
