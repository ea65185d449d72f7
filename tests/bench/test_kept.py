"""Servers that are kept for several rounds: all up at once, each failure its own, none left over.

Owns: `bench.run --keep`, with servers made up and with real ones of asyncio. Thread: the test's
own. Must not: look at the speed of anything.
"""

import json
import os
import shutil
from contextlib import contextmanager

import pytest

pytest.importorskip("rich")

from bench import measure, run  # noqa: E402
from bench.measure import warm_server  # noqa: E402
from bench.processes import RunError, Server  # noqa: E402
from bench.rows import choose_rows  # noqa: E402
from bench.schedule import KeptServers, Plan, run_rounds  # noqa: E402

LOOPS = ("asyncio", "uvloop", "loopx")
(ECHO,) = choose_rows("echo-protocol-1x64")
(WEB,) = choose_rows("uvicorn-hello-1")
real_servers = pytest.mark.skipif(
    os.cpu_count() == 1 or shutil.which("gcc") is None, reason="needs two cores and gcc"
)


class Servers:
    """Stands for every server of a row; `fails` has what is raised by 'start', 'stop' or a window
    (by its number, from 0) of a loop."""

    def __init__(self, fails=None):
        self.fails = fails or {}
        self.up = []
        self.events = []
        self.up_while_measured = []
        self.windows = dict.fromkeys(LOOPS, 0)

    def do(self, what, loop, key):
        self.events.append((what, loop))
        if (loop, key) in self.fails:
            raise self.fails[loop, key]

    @contextmanager
    def start(self, _row, loop):
        self.do("start", loop, "start")
        self.up.append(loop)

        def measure_once():
            self.up_while_measured.append(sorted(self.up))
            self.windows[loop] += 1
            self.do("measure", loop, self.windows[loop] - 1)
            return {"requests_per_second": float(self.windows[loop])}

        try:
            yield measure_once
        finally:
            self.up.remove(loop)
            self.do("stop", loop, "stop")

    def loops_that(self, what):
        return [loop for event, loop in self.events if event == what]

    def run(self, rounds, keep):
        with KeptServers(keep, self.start) as kept:
            return run_rounds(
                Plan(ECHO, LOOPS, {}), rounds, kept.measure, lambda *_: None, kept.begin_round
            )


def test_all_are_up_while_each_is_measured_in_rotated_order():
    servers = Servers()
    result, failures = servers.run(rounds=3, keep=2)
    assert not failures and not servers.up
    assert servers.up_while_measured == [sorted(LOOPS)] * 9
    assert [(each.round, each.position, each.loop) for each in result.runs] == [
        (0, 0, "asyncio"), (0, 1, "uvloop"), (0, 2, "loopx"),
        (1, 0, "uvloop"), (1, 1, "loopx"), (1, 2, "asyncio"),
        (2, 0, "loopx"), (2, 1, "asyncio"), (2, 2, "uvloop"),
    ]


@pytest.mark.parametrize("rounds, keep, starts", [(5, 2, 3), (4, 2, 2), (3, 8, 1), (2, 1, 2)])
def test_servers_are_replaced_together_after_so_many_rounds(rounds, keep, starts):
    servers = Servers()
    servers.run(rounds, keep)
    for loop in LOOPS:
        assert servers.loops_that("start").count(loop) == starts
        assert servers.loops_that("stop").count(loop) == starts
    whats = [what for what, _ in servers.events]
    runs = [whats[at] for at in range(len(whats)) if at == 0 or whats[at] != whats[at - 1]]
    assert runs == ["start", "measure", "stop"] * starts


def test_a_server_that_fails_is_stopped_and_the_others_go_on():
    servers = Servers({("uvloop", 1): RunError("it answered 204")})
    result, failures = servers.run(rounds=4, keep=2)
    assert [(each.loop, each.round, each.reason) for each in failures] == [
        ("uvloop", 1, "it answered 204")
    ]
    failed = servers.events.index(("measure", "uvloop"), servers.events.index(("measure", "loopx")))
    assert servers.events[failed + 1] == ("stop", "uvloop")
    assert servers.loops_that("start").count("uvloop") == 1
    assert {each.loop for each in result.runs} == {"asyncio", "loopx"} and len(result.runs) == 8
    assert servers.up_while_measured[-1] == ["asyncio", "loopx"] and not servers.up


def test_a_server_that_does_not_start_fails_in_that_round():
    servers = Servers()
    begun = []

    def fail_from_round_2(_row, number, loops):
        begun.append(loops)
        if number == 2:
            servers.fails["loopx", "start"] = RunError("not ready")
        kept.begin_round(_row, number, loops)

    with KeptServers(2, servers.start) as kept:
        result, failures = run_rounds(
            Plan(ECHO, LOOPS, {}), 5, kept.measure, lambda *_: None, fail_from_round_2
        )
    assert [(each.loop, each.round, each.reason) for each in failures] == [
        ("loopx", 2, "not ready")
    ]
    assert "loopx" in begun[2] and "loopx" not in begun[3] + begun[4]
    assert {each.loop for each in result.runs} == {"asyncio", "uvloop"} and len(result.runs) == 10


@pytest.mark.parametrize(
    "place", [("uvloop", "start"), ("uvloop", 0), ("loopx", "stop"), ("asyncio", "stop")]
)
def test_whatever_else_goes_wrong_leaves_no_server(place):
    servers = Servers({place: ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        servers.run(rounds=1, keep=2)
    assert not servers.up and servers.loops_that("stop")


@pytest.fixture
def started(monkeypatch):
    """Every server that a test starts."""
    servers = []

    class Recorded(Server):
        def __enter__(self):
            servers.append(self)
            return super().__enter__()

    monkeypatch.setattr(measure, "Server", Recorded)
    yield servers
    assert all(each.process.poll() is not None for each in servers)


@real_servers
def test_each_window_counts_its_own_cpu_time(started):
    """Of a server that has used more than a window's before: the share of a core would tell."""
    with warm_server(ECHO, "asyncio", 0.05) as measure_once:
        used_s = started[0].cpu_seconds()
        windows = [measure_once(), measure_once()]
        assert used_s > 2 * 0.05
    assert len(started) == 1
    for each in windows:
        assert 0 < each["server_cpu_share"] < 1.5
        assert each["cpu_us_per_request"] * each["requests"] < 1.5 * each["seconds"] * 1e6


@real_servers
def test_a_server_that_ended_while_it_was_kept_is_an_error(started):
    with warm_server(ECHO, "asyncio", 0.05) as measure_once:
        measure_once()
        started[0].process.kill()
        started[0].process.wait()
        with pytest.raises(RunError, match=r"the server ended.*SIGKILL"):
            measure_once()


def test_a_web_server_is_looked_at_and_warmed_up_once(monkeypatch):
    asked = []

    class Fake:
        port = 80

        def check_alive(self):
            asked.append("alive")

    @contextmanager
    def serving(_row, _loop):
        yield Fake(), None

    monkeypatch.setattr(measure, "serving", serving)
    monkeypatch.setattr(measure, "check_answer", lambda url, *_: asked.append(url))
    monkeypatch.setattr(measure, "run_wrk", lambda *arguments: asked.append(arguments[-2:]))
    with warm_server(WEB, "asyncio", 3.0) as measure_once:
        assert asked == ["http://localhost:80/", (1, False)]
        measure_once()
        measure_once()
    assert asked[2:] == ["alive", (3, False)] * 2
    asked.clear()
    measure.measure(WEB, "asyncio", 3.0)
    assert asked == ["http://localhost:80/", (3, True)]


@pytest.mark.parametrize("row, keep", [("echo-protocol-1x64", 1), ("micro-sleep-0", 3),
                                       ("memory-idle-connection", 3)])
def test_a_fresh_process_for_each_run(monkeypatch, row, keep):
    """Without --keep; and always where there is no server, or its memory is what is measured."""
    measured = []

    def measure_fresh(row, loop, _seconds):
        measured.append(loop)
        return {row.metric: 1.0}

    monkeypatch.setattr(run, "measure", measure_fresh)
    monkeypatch.setattr(run, "warm_server", None)
    parameters = {"rounds": 3, "keep": keep, "seconds": 1.0, "retries": 0}
    result, failures = run.measure_plan(
        Plan(choose_rows(row)[0], LOOPS, {}), parameters, lambda *_: None
    )
    assert len(measured) == len(result.runs) == 9 and not failures


def test_a_disturbed_window_is_repeated_on_the_kept_server(monkeypatch):
    """Every first window of a server is disturbed."""
    servers = Servers()

    @contextmanager
    def start(row, loop, seconds):
        with servers.start(row, loop) as measure_once:
            yield lambda: measure_once() | {
                "other_cpu_share": 0.9 if servers.windows[loop] % 3 == 1 else 0.0
            }

    monkeypatch.setattr(run, "warm_server", start)
    parameters = {"rounds": 2, "keep": 2, "seconds": 1.0, "retries": 1}
    result, _ = run.measure_plan(Plan(ECHO, LOOPS, {}), parameters, lambda *_: None)
    assert [each.metrics["requests_per_second"] for each in result.runs] == [2.0] * 3 + [3.0] * 3
    assert len(servers.loops_that("start")) == 3


@real_servers
def test_the_command_keeps_servers(started, monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("bench.results.RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["run", "--rows", ECHO.name, "--loops", "asyncio", "--rounds",
                                     "3", "--keep", "2", "--seconds", "0.05", "--output", "try"])
    assert run.main() == 0, capsys.readouterr().out
    stored = json.loads((tmp_path / "try.json").read_text())
    assert stored["parameters"]["keep"] == 2 and stored["complete"]
    assert [each["round"] for each in stored["rows"][0]["runs"]] == [0, 1, 2]
    assert len(started) == 2
    assert "3 interleaved rounds of 0.05 s, at most 2 on each server" in capsys.readouterr().out
