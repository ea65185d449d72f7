"""What a run of the benchmarks leaves behind: figures, their summary, and where they were taken.

Owns the layout of ``bench/results/NAME.json`` (``SCHEMA``) and all statistics: medians with minimum
and maximum, and ratios to the reference loop computed from pairs of the same round. Every single
run is kept. No host name and no path of the machine goes into a file.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.clients import Metrics
from bench.core_distance import is_apart, near_ns
from bench.loops import REFERENCE
from bench.paths import RESULTS, ROOT
from bench.rows import Row

SCHEMA = 1
PACKAGES = ("cython", "cffi", "aiohttp", "uvicorn", "httptools", "trustme")
RATIO_METRICS = ("requests_per_second", "cpu_us_per_request", "p50_us", "p99_us", "best_ns",
                 "resident_kib", "instructions")
BUSY_SHARE = 0.1


@dataclass(frozen=True)
class Run:
    """One run of one row: in which round, on which loop, at which place of the round's order."""

    round: int
    position: int
    loop: str
    metrics: Metrics


@dataclass(frozen=True)
class Failure:
    """A run that was not clean: it gives no figure."""

    row: str
    loop: str
    round: int
    reason: str


@dataclass
class RowResult:
    """All runs of one row, and which loops have none, with the reason."""

    row: Row
    runs: list[Run] = field(default_factory=list)
    gaps: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is stored, with its summary."""
        row = {key: value for key, value in asdict(self.row).items() if key != "limits"}
        return row | {
            "gaps": self.gaps,
            "summary": summarize(self.runs),
            "runs": [asdict(run) for run in self.runs],
        }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    numbers = sorted(values)
    return {"median": median(numbers), "min": numbers[0], "max": numbers[-1]}


def pairs(
    runs: Iterable[Run], metric: str, loop: str, other: str
) -> list[tuple[float, float]]:
    """Return the figures of two loops in each round in which both have one.

    All that compares loops divides these: a machine that is slow for some seconds slows both runs
    of a round, and leaves their ratio what it was.
    """
    by_round: dict[int, dict[str, float]] = {}
    for run in runs:
        if metric in run.metrics:
            by_round.setdefault(run.round, {})[run.loop] = run.metrics[metric]
    return [
        (figures[loop], figures[other])
        for figures in by_round.values()
        if loop in figures and other in figures
    ]


def summarize(runs: list[Run]) -> dict[str, Any]:
    """Return for each loop the spread of each figure, and of its ratio to the reference loop."""
    summary: dict[str, Any] = {}
    for loop in dict.fromkeys(run.loop for run in runs):
        own = [run for run in runs if run.loop == loop]
        figures = {name: spread(run.metrics[name] for run in own) for name in own[0].metrics}
        ratios = {}
        for name in RATIO_METRICS:
            found = [
                figure / reference
                for figure, reference in pairs(runs, name, loop, REFERENCE)
                if reference
            ]
            if found:
                ratios[name] = spread(found)
        summary[loop] = {"figures": figures, "ratios": ratios}
    return summary


def command_output(*command: str) -> str:
    """Return the first line that a command prints; 'unknown' if none, or no such command."""
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    lines = (result.stdout or result.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def read_setting(path: str) -> str:
    """Return the text of a file of /proc or /sys, or 'unknown'."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def cpu_model() -> str:
    """Return the processor's name, with family and model numbers where the name says little."""
    fields: dict[str, str] = {}
    for line in read_setting("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    numbers = f"family {fields.get('cpu family')}, model {fields.get('model')}"
    return f"{fields.get('model name', platform.machine())} ({numbers})"


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    page_bytes, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_mib": page_bytes * pages // 2**20,
        "tcp_congestion_control": read_setting("/proc/sys/net/ipv4/tcp_congestion_control"),
    }


def describe_versions(loops: dict[str, str]) -> dict[str, str]:
    """Return the versions of all that took part, loops included."""
    versions = {"python": platform.python_version(), "python_compiler": platform.python_compiler()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    versions["liburing"] = command_output("pkg-config", "--modversion", "liburing")
    versions["gcc"] = command_output("gcc", "-dumpfullversion")
    versions["valgrind"] = command_output("valgrind", "--version").removeprefix("valgrind-")
    versions["wrk"] = command_output("wrk", "-v").split(" [")[0]
    return versions | {f"loop {name}": version for name, version in loops.items()}


def describe_commit() -> dict[str, Any]:
    """Return the commit, and whether the code that was measured differs from it."""
    commit = command_output("git", "rev-parse", "--verify", "--quiet", "HEAD")
    changes = command_output("git", "status", "--short", "--", ".", ":(exclude)bench/results")
    return {"commit": commit, "modified": changes != "unknown"}


@dataclass
class Report:
    """One execution of the suite; written after every row, so that an interruption loses little."""

    name: str
    command: str
    parameters: dict[str, Any]
    loops: dict[str, str]
    absent: dict[str, str]
    rows: list[RowResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    complete: bool = False

    def __post_init__(self) -> None:
        self.began = datetime.now(UTC)
        self.machine = describe_machine()
        self.versions = describe_versions(self.loops)
        self.commit = describe_commit()

    @property
    def path(self) -> Path:
        """Where the report is written."""
        return RESULTS / f"{self.name}.json"

    def to_json(self) -> dict[str, Any]:
        """Return the report as it is stored."""
        runs = [run for row in self.rows for run in row.runs]
        distance_ns = near_ns(run.metrics["core_distance_ns"] for run in runs
                              if "core_distance_ns" in run.metrics)
        return {
            "schema": SCHEMA,
            "name": self.name,
            "complete": self.complete,
            "date": self.began.isoformat(timespec="seconds"),
            "command": self.command,
            "parameters": self.parameters,
            "git": self.commit,
            "machine": self.machine,
            "versions": self.versions,
            "loops": self.loops,
            "absent": self.absent,
            "runs": len(runs),
            "runs_on_busy_machine": sum(is_disturbed(run.metrics, distance_ns) for run in runs),
            "failures": [asdict(failure) for failure in self.failures],
            "rows": [row.to_json() for row in self.rows],
        }

    def write(self) -> Path:
        """Write the report, replacing an earlier one of the same name in one step."""
        RESULTS.mkdir(exist_ok=True)
        unfinished = self.path.with_suffix(".json.part")
        unfinished.write_text(json.dumps(self.to_json(), indent=1) + "\n")
        return unfinished.replace(self.path)


def is_disturbed(metrics: Metrics, near_core_distance_ns: float) -> bool:
    """Return whether others took much of a core during the run, or the cores were apart."""
    taken = metrics.get("other_cpu_share", 0) + metrics.get("steal_share", 0)
    distance_ns = metrics.get("core_distance_ns", 0)
    return taken > BUSY_SHARE or is_apart(distance_ns, near_core_distance_ns)


def load(path: Path) -> dict[str, Any]:
    """Read a stored report. Raises ValueError if its layout is not the one known here."""
    data: dict[str, Any] = json.loads(path.read_text())
    if data.get("schema") != SCHEMA:
        raise ValueError(f"{path.name}: layout {data.get('schema')}, expected {SCHEMA}")
    return data
