"""Where loopx loses: every rival that is ahead is told of, and none that is not.

Owns: `bench.leads` on rows of the usual layout. Nothing is measured. Thread: the test's own.
"""

import json
import math

import pytest

from bench.leads import absences, comparisons, leads_of
from bench.paths import RESULTS
from bench.results import RowResult, Run
from bench.rows import choose_rows


def report(name, figures, failures=(), gaps=None):
    """A report of one row: `figures` has for each loop the headline figure of each round."""
    (row,) = choose_rows(name)
    runs = [
        Run(number, 0, loop, {row.metric: figure})
        for loop, values in figures.items()
        for number, figure in enumerate(values)
    ]
    stored = RowResult(row, runs, gaps or {}).to_json()
    return {"name": "io", "rows": [stored], "failures": list(failures)}


def test_more_requests_are_ahead():
    made = report("echo-protocol-64x1024",
                  {"uvloop": [100, 100, 100], "loopx": [120, 120, 120],
                   "blazio": [150, 144, 110], "rloop": [90, 90, 90], "c-epoll": [130, 130, 130]})
    ahead = {lead.rival: lead for lead in leads_of(made)}
    assert set(ahead) == {"blazio", "c-epoll"}
    assert ahead["blazio"].ratio == pytest.approx(1.2)
    assert (ahead["blazio"].rounds_ahead, ahead["blazio"].rounds) == (2, 3)
    assert ahead["c-epoll"].is_limit and not ahead["blazio"].is_limit
    assert comparisons(made) == 3


def test_less_time_is_ahead():
    made = report("micro-sleep-0", {"uvloop": [300], "loopx": [200], "zloop": [100]})
    (lead,) = leads_of(made)
    assert (lead.rival, lead.ratio, lead.is_headline) == ("zloop", 2.0, True)


def test_a_row_without_a_loop_compares_none():
    stored = json.loads((RESULTS / "instructions.json").read_text())
    plain = [row for row in stored["rows"] if row["name"] == "instructions-python"]
    made = stored | {"rows": plain}
    assert len(plain) == 1 and leads_of(made) == [] and comparisons(made) == 0


def test_the_reference_can_be_ahead():
    (lead,) = leads_of(report("echo-tls-1x64", {"uvloop": [100], "loopx": [80]}))
    assert lead.rival == "uvloop" and lead.ratio == pytest.approx(1.25)


def test_ahead_by_the_tables_alone_is_told_too():
    """Ratios to the reference say 1.5 against 1.4; in two of three rounds loopx had more."""
    made = report("echo-sock-64x1024", {"uvloop": [100, 100, 200], "loopx": [140, 170, 210],
                                        "blazio": [150, 160, 200]})
    (lead,) = (each for each in leads_of(made) if each.rival == "blazio")
    assert lead.ratio < 1 and lead.ratio_of_tables == lead.greatest == pytest.approx(1.5 / 1.4)


def test_nothing_at_all_is_infinitely_less():
    (lead,) = leads_of(report("memory-loop-made", {"loopx": [2.0], "zloop": [0.0]}))
    assert lead.ratio == math.inf


@pytest.mark.parametrize(
    "failures, gaps, reason",
    [
        ([{"row": "echo-sock-1x64", "loop": "loopx"}], {}, "its run failed"),
        ([], {"loopx": "cannot do this"}, "cannot do this"),
        ([], {}, "took no part"),
    ],
)
def test_a_row_without_a_figure_of_loopx_is_lost(failures, gaps, reason):
    made = report("echo-sock-1x64", {"uvloop": [100]}, failures, gaps)
    assert [each.reason for each in absences(made)] == [reason]
    assert leads_of(made) == []


@pytest.mark.parametrize("name", ["io", "micro"])
def test_whatever_a_table_shows_ahead_is_listed(name):
    stored = json.loads((RESULTS / f"{name}.json").read_text())
    listed = {(lead.row, lead.rival) for lead in leads_of(stored) if lead.is_headline}
    for row in stored["rows"]:
        ratios = {loop: each["ratios"][row["metric"]]["median"]
                  for loop, each in row["summary"].items()}
        own = ratios.pop("loopx")
        for loop, ratio in ratios.items():
            if ratio > own if row["higher_is_better"] else ratio < own:
                assert (row["title"], loop) in listed
