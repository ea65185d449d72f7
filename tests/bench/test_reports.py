"""Rounds and reports: a loop that failed has no figure, and documents are kept up to date.

Owns: what becomes of runs.  Nothing is measured.  Thread: the test's own.
"""

import json

import pytest

from bench.processes import RunError
from bench.rows import choose_rows

pytest.importorskip("rich")

from bench import report  # noqa: E402
from bench.paths import ROOT  # noqa: E402
from bench.results import SCHEMA, Run, load, pairs, summarize  # noqa: E402
from bench.schedule import Plan, run_rounds  # noqa: E402
from bench.tables import Table, describe_rounds, make_tables  # noqa: E402

LOOPS = ("asyncio", "uvloop", "loopx")
TABLE = Table("speed", "How fast", ["row", "loopx"], [["echo", "1.10"]], ["A note."])
DOCUMENT = "before\n<!-- bench:io/speed -->\nold\n<!-- /bench -->\n"
DOCUMENT += "<!-- bench:io/other -->\nits\n<!-- /bench -->\n"
DOCUMENT += "<!-- bench:io-3.12/speed -->\nits, too\n<!-- /bench -->\nafter\n"
DOCUMENTS = [path for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
             if report.MARKED.search(path.read_text())]


def test_a_loop_that_fails_once_has_no_figure():
    (row,) = choose_rows("echo-protocol-1x64")
    asked = []

    def measure(_row, loop):
        asked.append(loop)
        if loop == "uvloop" and asked.count(loop) == 2:
            raise RunError("it answered 204")
        return {"requests_per_second": 1.0}

    result, failures = run_rounds(Plan(row, LOOPS, {}), 3, measure, lambda *_: None)
    assert [(failure.loop, failure.round, failure.reason) for failure in failures] == [
        ("uvloop", 1, "it answered 204")
    ]
    assert {run.loop for run in result.runs} == {"asyncio", "loopx"}
    assert set(result.to_json()["summary"]) == {"asyncio", "loopx"}
    assert asked.count("uvloop") == 2 and asked.count("loopx") == 3


def test_only_a_failed_run_is_passed_over():
    (row,) = choose_rows("echo-protocol-1x64")

    def measure(_row, _loop):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_rounds(Plan(row, LOOPS, {}), 1, measure, lambda *_: None)


def test_a_row_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no row matches"):
        choose_rows("echo-protocol-1x64,ehco-*")


def test_a_ratio_is_made_of_rounds_that_both_loops_have():
    """The machine was half as fast in round 1, which uvloop lacks, and in round 2."""
    metric = "requests_per_second"
    figures = {"uvloop": {0: 100.0, 2: 50.0, 3: 100.0}, "loopx": {0: 120.0, 1: 60.0, 2: 60.0},
               "rloop": {1: 40.0}}
    runs = [Run(number, 0, loop, {metric: figure})
            for loop, rounds in figures.items() for number, figure in rounds.items()]
    assert pairs(runs, metric, "loopx", "uvloop") == [(120.0, 100.0), (60.0, 50.0)]
    assert pairs(runs, metric, "loopx", "rloop") == [(60.0, 40.0)]
    assert pairs(runs, "p50_us", "loopx", "uvloop") == []
    summary = summarize(runs)
    assert summary["loopx"]["figures"][metric]["median"] == 60.0
    assert summary["loopx"]["ratios"] == {metric: {"median": 1.2, "min": 1.2, "max": 1.2}}
    assert summary["rloop"]["ratios"] == {}


@pytest.mark.parametrize(
    "groups, parameters, said",
    [
        (["echo"], {"rounds": 24, "seconds": 0.3, "keep": 8},
         "24 interleaved rounds of 0.3 s, at most 8 on each server"),
        (["web", "micro"], {"rounds": 6, "seconds": 0.3, "keep": 2},
         "6 interleaved rounds of 0.3 s (wrk: 1 s), at most 2 on each server"),
        (["echo"], {"rounds": 5, "seconds": 1.0, "keep": 1}, "5 interleaved rounds of 1 s"),
        (["echo"], {"rounds": 5, "seconds": 1.0}, "5 interleaved rounds of 1 s"),
        (["micro", "memory"], {"rounds": 5, "keep": 2}, "5 interleaved rounds"),
    ],
)
def test_how_long_servers_were_kept_is_said(groups, parameters, said):
    rows = [{"group": group} for group in groups]
    assert describe_rounds({"parameters": parameters, "rows": rows}) == said


def test_tables_go_between_their_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(DOCUMENT)
    assert report.update_files([path], "io", [TABLE], check_only=True) == [path]
    assert path.read_text() == DOCUMENT
    assert report.update_files([path], "io", [TABLE], check_only=False) == [path]
    text = path.read_text()
    assert text == DOCUMENT.replace("old\n", report.to_markdown(TABLE))
    assert "| echo | 1.10 |" in text and "A note." in text
    assert report.update_files([path], "io", [TABLE], check_only=True) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_show_what_is_recorded(path):
    """Each marked table: nobody has written another record's, or by hand, between its markers."""
    text = path.read_text()
    assert text.count("<!-- bench:") == len(report.MARKED.findall(text)) > 0
    for _, name, table, _ in report.MARKED.findall(text):
        tables = {each.name for each in make_tables(load(report.find_results(name)))}
        assert table in tables, f"{name} has no {table}"
    for name in {match[1] for match in report.MARKED.findall(text)}:
        stored = make_tables(load(report.find_results(name)))
        assert report.insert_tables(text, name, stored) == text, f"bench.report {name} --insert"


def test_results_of_another_layout_are_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"schema": SCHEMA - 1}))
    with pytest.raises(ValueError, match="layout"):
        load(path)
