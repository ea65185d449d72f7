"""Verdicts of `bench.check`: what kept its ratio passes, and nothing else does.

Owns: judging by figures that nobody measured here, on rows of the real record. Thread: the test's
own. Must not: run a server.
"""

import copy
import json

import pytest

from bench.paths import RESULTS
from bench.results import Failure, RowResult, Run
from bench.rows import all_rows, choose_rows
from bench.verdict import LEAST_SHARE, Outcome, Recorded, judge, recorded_ratios

ROW = "echo-protocol-64x1024"
REPORT = json.loads((RESULTS / "io.json").read_text())


def metrics(figure):
    """What the echo load generator and the watch on the machine leave behind."""
    return {"connections": 64, "size_bytes": 1024, "requests": 50_000, "seconds": 0.400012,
            "requests_per_second": figure, "cpu_us_per_request": 1e6 / figure, "p50_us": 480.0,
            "load_cpu_share": 0.61, "server_cpu_share": 0.998, "other_cpu_share": 0.0}


def result(name, uvloop, loopx, metric="requests_per_second"):
    """Rounds of one row, as `run_rounds` returns them."""
    (row,) = choose_rows(name)
    runs = []
    for number, pair in enumerate(zip(uvloop, loopx, strict=True)):
        for position, (loop, figure) in enumerate(zip(("uvloop", "loopx"), pair, strict=True)):
            figures = metrics(figure) if metric == "requests_per_second" else {metric: figure}
            runs.append(Run(number, position, loop, figures))
    return RowResult(row, runs), []


def judged(recorded, measured):
    return {each.row: each for each in judge(recorded, measured)}


def test_the_thresholds_are_those_of_the_record():
    recorded = recorded_ratios(REPORT)
    assert set(recorded) == {row["name"] for row in REPORT["rows"]}
    assert set(recorded) <= {row.name for row in all_rows()}
    for row in REPORT["rows"]:
        ratio = row["summary"]["loopx"]["ratios"]["requests_per_second"]["median"]
        assert recorded[row["name"]].threshold == LEAST_SHARE * ratio


@pytest.mark.parametrize(
    "share, outcome",
    [(1.3, Outcome.KEPT), (1.0, Outcome.KEPT), (0.901, Outcome.KEPT), (0.899, Outcome.SLOWER)],
)
def test_below_nine_tenths_is_too_slow(share, outcome):
    recorded = recorded_ratios(REPORT)[ROW]
    fast = 80_000 * recorded.ratio * share
    (each,) = judge({ROW: recorded}, {ROW: result(ROW, [80_000] * 3, [fast] * 3)})
    assert each.outcome is outcome and each.is_pass is (outcome is Outcome.KEPT)
    assert each.measured == pytest.approx(recorded.ratio * share)


def test_what_is_too_slow_is_named_with_its_figures():
    measured = {ROW: result(ROW, [80_000] * 3, [80_000, 88_000, 79_000])}
    (each,) = judge({ROW: Recorded(1.26, True)}, measured)
    assert each.describe() == (
        f"{ROW}: ratio to uvloop measured 1.000, recorded 1.260, threshold 1.134"
    )


def test_the_ratio_is_the_median_of_pairs():
    """The machine was half as fast in two rounds, for both loops; once for loopx alone."""
    measured = {ROW: result(ROW, [80e3, 40e3, 80e3, 40e3, 80e3], [96e3, 48e3, 96e3, 48e3, 30e3])}
    (each,) = judge({ROW: Recorded(1.2, True)}, measured)
    assert each.outcome is Outcome.KEPT and each.measured == pytest.approx(1.2)


@pytest.mark.parametrize("best_ns, is_pass", [(220.0, True), (221.0, True), (224.0, False)])
def test_fewer_nanoseconds_are_better(best_ns, is_pass):
    name = "micro-call-soon-chain"
    recorded = Recorded(0.2, higher_is_better=False)
    measured = {name: result(name, [1000.0], [best_ns], "best_ns")}
    (each,) = judge({name: recorded}, measured)
    assert each.is_pass is is_pass


def test_a_failed_run_is_no_pass():
    """Neither on a recorded row whose ratio is good besides, nor on one nobody recorded."""
    row, _ = result(ROW, [80_000] * 3, [900_000] * 3)
    failure = Failure(ROW, "loopx", 2, "echo_load failed: wrong data")
    for recorded in ({ROW: Recorded(1.26, True)}, {}):
        (each,) = judge(recorded, {ROW: (row, [failure])})
        assert each.outcome is Outcome.FAILED and not each.is_pass
        assert each.describe() == (
            f"{ROW}: loopx failed in round 3: echo_load failed: wrong data"
        )


def test_a_recorded_row_that_was_not_measured_is_no_pass():
    recorded = {ROW: Recorded(1.26, True), "echo-gone-1x1": Recorded(1.0, True)}
    each = judged(recorded, {ROW: result(ROW, [80_000], [104_000])})
    assert each[ROW].is_pass
    assert each["echo-gone-1x1"].outcome is Outcome.UNMEASURED
    assert not each["echo-gone-1x1"].is_pass


@pytest.mark.parametrize("missing", ["uvloop", "loopx"])
def test_a_row_without_a_pair_is_no_pass(missing):
    row, _ = result(ROW, [80_000], [104_000])
    row.runs = [run for run in row.runs if run.loop != missing]
    row.gaps[missing] = "cannot do this"
    (each,) = judge({ROW: Recorded(1.26, True)}, {ROW: (row, [])})
    assert each.outcome is Outcome.UNMEASURED and not each.is_pass
    assert f"{missing}: cannot do this" in each.describe()


def test_a_row_that_was_not_recorded_is_said_and_not_judged():
    other = "echo-tls-512x64"
    measured = {ROW: result(ROW, [80_000], [104_000]), other: result(other, [80_000], [8_000])}
    each = judged({ROW: Recorded(1.26, True)}, measured)
    assert each[other].outcome is Outcome.UNRECORDED and each[other].is_pass
    assert "not recorded" in each[other].describe()


def test_a_record_without_ratios_is_refused():
    report = copy.deepcopy(REPORT)
    for row in report["rows"]:
        del row["summary"]["loopx"]
    with pytest.raises(ValueError, match="no row has a recorded ratio"):
        recorded_ratios(report)
