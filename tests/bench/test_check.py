"""The command `bench.check`: its exit code, and what is measured a second time.

Owns: whole runs of it on one row, real ones and ones with figures made up. Thread: the test's own.
Must not: expect any speed: the records that it compares with are far above or below it.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("rich")

from bench import check  # noqa: E402
from bench.loops import Probe  # noqa: E402
from bench.paths import RESULTS, ROOT  # noqa: E402
from bench.processes import RunError  # noqa: E402

pytestmark = pytest.mark.skipif(os.cpu_count() == 1, reason="server and load need a core each")

ROW = "echo-protocol-1x1024"


def write_record(folder, ratio, row=ROW):
    """The recorded report with one row alone and another ratio in it."""
    report = json.loads((RESULTS / "io.json").read_text())
    report["rows"] = [each for each in report["rows"] if each["name"] == row]
    report["rows"][0]["summary"]["loopx"]["ratios"]["requests_per_second"]["median"] = ratio
    path = folder / "record.json"
    path.write_text(json.dumps(report))
    return path


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
@pytest.mark.parametrize("ratio, code, said", [(50.0, 1, "SLOWER: "), (0.01, 0, "1 of 1 rows")])
def test_the_exit_code_follows_the_record(tmp_path, ratio, code, said):
    pytest.importorskip("uvloop")
    result = subprocess.run(
        [sys.executable, "-m", "bench.check", "--recorded", str(write_record(tmp_path, ratio)),
         "--rounds", "1", "--again-rounds", "1", "--seconds", "0.05"],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert result.returncode == code, result.stdout + result.stderr
    assert said in result.stdout
    if code:
        assert f"{ROW}: ratio to uvloop measured" in result.stdout
        assert "recorded 50.000, threshold 45.000" in result.stdout


@pytest.fixture
def run_check(monkeypatch, tmp_path, capsys):
    """Run the command in this process: `figures` gives loopx's requests for run after run."""

    def run(figures, *options, ratio=1.0):
        measured = []

        def measure(_row, loop, _seconds):
            if loop == "uvloop":
                return {"requests_per_second": 1000.0}
            measured.append(loop)
            figure = figures[min(len(measured), len(figures)) - 1]
            if figure is None:
                raise RunError("the server ended")
            return {"requests_per_second": figure}

        record = write_record(tmp_path, ratio)
        monkeypatch.setattr(check, "measure", measure)
        monkeypatch.setattr(check, "executable", lambda _: None)
        monkeypatch.setattr(check, "versions_here", lambda: ["1", "2"])
        monkeypatch.setattr(sys, "argv", ["check", "--recorded", str(record), *options])
        code = check.main()
        return code, len(measured), capsys.readouterr().out

    return run


def test_what_is_fast_enough_is_measured_once(run_check):
    code, runs, output = run_check([1000.0])
    assert (code, runs) == (0, 2) and "once more" not in output


def test_what_is_too_slow_at_first_has_a_second_chance(run_check):
    code, runs, output = run_check([500.0, 500.0, 1000.0])
    assert code == 0 and runs >= 2 + check.AGAIN_ROUNDS[0]
    assert f"once more: {ROW}" in output and "SLOWER" not in output


def test_what_is_too_slow_twice_counts(run_check):
    code, _, output = run_check([500.0])
    assert code == 1
    assert "measured 0.500, recorded 1.000, threshold 0.900" in output.split("SLOWER: ")[1]


def test_the_second_measurement_can_fail_too(run_check):
    code, _, output = run_check([500.0, 500.0, 1000.0, None])
    assert code == 1 and "loopx failed in round 2: the server ended" in output


def test_what_there_is_no_time_for_is_no_pass(run_check):
    code, runs, output = run_check([500.0], "--time-limit", "1e-9")
    assert (code, runs) == (1, 2) and f"UNDECIDED: {ROW}" in output


def test_a_failed_server_is_an_error(run_check):
    code, runs, output = run_check([1000.0, None])
    assert (code, runs) == (1, 2) and "FAILED: " in output and "the server ended" in output


def test_other_rows_are_shown_and_not_judged(run_check):
    code, _, output = run_check([1000.0, 1000.0, 10.0], "--also", "echo-tls-1x64")
    assert code == 0 and "echo-tls-1x64: not recorded, so not judged" in output


def test_a_loop_that_is_absent_is_no_pass(monkeypatch):
    monkeypatch.setattr("bench.run.probe", lambda name: Probe(name, None, "not installed"))
    with pytest.raises(ValueError, match="uvloop: not installed"):
        check.versions_here()
