"""How far apart the cores are: the probe, waiting for near ones, and runs that they disturb.

Owns: the probe's program and what follows from its figures.  Thread: the test's own; the probe is a
child process.  Must not: look at how near the machine's cores are.
"""

import math
import os
import shutil
import subprocess

import pytest

from bench import core_distance as module
from bench.build import executable
from bench.core_distance import CoreDistance, is_apart
from bench.machine_use import machine_use
from bench.measure import measure_undisturbed
from bench.results import Report, RowResult, Run, is_disturbed
from bench.rows import choose_rows

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")


class Distances(CoreDistance):
    """Finds the given distances, one after the other, and the last one from then on."""

    def __init__(self, *to_find):
        super().__init__()
        self.to_find = list(to_find)
        self.measured = 0

    def probe_ns(self):
        self.measured += 1
        return self.to_find.pop(0) if len(self.to_find) > 1 else self.to_find[0]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.001)


@needs_compiler
@pytest.mark.skipif(os.cpu_count() == 1, reason="there is one core")
def test_the_probe_measures():
    probe = CoreDistance()
    found = [probe.measure_ns() for _ in range(3)]
    assert all(1 < each < 1e6 for each in found) and probe.near_ns == min(found)


@needs_compiler
@pytest.mark.parametrize("cores", [(), ("0",), ("0", "0"), ("0", "1", "2")])
def test_the_probe_wants_two_cores(cores):
    """A thread that spins on the core of the one it waits for would take for ever."""
    result = subprocess.run([executable("core_distance"), *cores], capture_output=True, timeout=20)
    assert result.returncode == 2 and b"usage" in result.stderr


def test_near_cores_are_not_waited_for():
    distances = Distances(50.0, 99.0)
    assert distances.await_near_ns(5.0) == 50.0 and distances.await_near_ns(5.0) == 99.0
    assert distances.measured == 2


def test_cores_that_are_apart_are_waited_for():
    distances = Distances(50.0, 310.0, 310.0, 60.0)
    distances.measure_ns()
    assert distances.await_near_ns(5.0) == 60.0 and distances.measured == 4


def test_waiting_ends():
    distances = Distances(50.0, 310.0)
    distances.measure_ns()
    assert distances.await_near_ns(0.05) == 310.0
    distances.seconds_to_wait = 0.05
    assert distances.await_near_ns(60.0) == 310.0 and distances.seconds_to_wait <= 0.0
    before = distances.measured
    assert distances.await_near_ns(60.0) == 310.0 and distances.measured == before + 1


def test_cores_that_were_nearer_for_a_moment_are_not_apart_for_ever():
    distances = Distances(50.0, *[120.0] * 40)
    for _ in range(10):
        distances.await_near_ns(0.0)
    assert distances.near_ns == 120.0 and distances.await_near_ns(60.0) == 120.0
    assert distances.measured == 11


def test_cores_that_stay_apart_for_long_are_apart():
    distances = Distances(50.0, 310.0)
    for _ in range(10):
        distances.await_near_ns(0.01)
    assert distances.measured > 11 and distances.near_ns == 310.0
    distances = Distances(*[50.0] * 10, 310.0)
    for _ in range(50):
        distances.await_near_ns(0.0)
    assert distances.near_ns == 50.0


def test_cores_that_are_always_apart_are_not_apart():
    """A machine with a socket for each core has no better moment to wait for."""
    assert Distances(310.0).await_near_ns(60.0) == 310.0


def test_a_run_with_cores_apart_is_disturbed():
    assert is_disturbed({"core_distance_ns": 101.0}, 50.0)
    assert not is_disturbed({"core_distance_ns": 99.0}, 50.0)
    assert not is_disturbed({}, math.inf) and not is_apart(310.0, 310.0)


def test_a_run_begins_with_near_cores_and_tells_how_it_ended(monkeypatch):
    distances = Distances(50.0, 310.0, 310.0, 60.0, 320.0)
    distances.measure_ns()
    monkeypatch.setattr("bench.machine_use.core_distance", distances)
    with machine_use(None) as figures:
        assert distances.measured == 4 and not figures
    assert figures["core_distance_ns"] == 320.0


def test_a_report_counts_runs_with_cores_apart():
    (row,) = choose_rows("micro-sleep-0")
    runs = [Run(0, at, "loopx", {"best_ns": 1.0, "core_distance_ns": distance_ns})
            for at, distance_ns in enumerate((50.0, 310.0, 60.0))]
    report = Report("try", "", {}, {}, {}, rows=[RowResult(row, runs)])
    assert report.to_json()["runs_on_busy_machine"] == 1


def test_a_run_with_cores_apart_is_repeated(monkeypatch):
    monkeypatch.setattr(module.core_distance, "found_ns", [50.0])
    for retries, kept_ns in ((1, 320.0), (2, 52.0)):
        runs = iter([{"core_distance_ns": each} for each in (310.0, 320.0, 52.0)])
        assert measure_undisturbed(lambda: next(runs), retries) == {"core_distance_ns": kept_ns}
