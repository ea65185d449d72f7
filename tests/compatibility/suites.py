"""Which tests stand on the page, of which packages, and how one run of them is read.

Owns: the list of suites, and the processes that run pytest, one for each suite and kind of loop.
Thread: the main thread.
Must not: import a library under test, or loopx: a crash must not be ours.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

from tests.support.children import ROOT, environment

KINDS = ("asyncio", "loopx", "uvloop")
METHODS = "tests/compatibility/test_methods.py"
RUN_TIMEOUT_S = 900.0
# A reason is one line of the table.
REASON_CHARACTERS = 160


@dataclass(frozen=True)
class Suite:
    """A file or folder of tests, and the packages that it is about."""

    name: str
    path: str
    packages: tuple[str, ...]
    kinds: tuple[str, ...] = KINDS


SUITES = (
    Suite("CPython's test.test_asyncio", "tests/compat", (), ("loopx",)),
    Suite("aiohttp", "tests/aiohttp", ("aiohttp",)),
    Suite(
        "uvicorn, gunicorn: command line",
        "tests/uvicorn",
        ("uvicorn", "uvicorn-worker", "gunicorn", "httptools", "starlette"),
    ),
    Suite(
        "uvicorn, hypercorn with FastAPI",
        "tests/ecosystem/test_asgi_servers.py",
        ("uvicorn", "hypercorn", "fastapi", "starlette", "httptools"),
    ),
    Suite("asyncpg", "tests/ecosystem/test_asyncpg.py", ("asyncpg",)),
    Suite("psycopg", "tests/ecosystem/test_psycopg.py", ("psycopg", "psycopg-binary")),
    Suite("redis-py", "tests/ecosystem/test_redis.py", ("redis",)),
    Suite("aiomysql", "tests/ecosystem/test_aiomysql.py", ("aiomysql", "PyMySQL")),
    Suite("websockets", "tests/ecosystem/test_websockets.py", ("websockets",)),
    Suite("httpx", "tests/ecosystem/test_httpx.py", ("httpx", "httpcore", "h2")),
    Suite("grpc.aio", "tests/ecosystem/test_grpc.py", ("grpcio",)),
    Suite("anyio", "tests/ecosystem/test_anyio.py", ("anyio",)),
    Suite(
        "Dask distributed",
        "tests/ecosystem/test_distributed.py",
        ("distributed", "dask", "tornado"),
    ),
)


def version_of(package: str) -> str | None:
    """The installed version, None if there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_tests(path: str, kind: str) -> dict[str, str]:
    """Run the tests on one kind of loop: {test: outcome}, {"crash": how} if there was no report.

    An outcome is "passed", "skipped", or a line of why the test failed.
    """
    with tempfile.TemporaryDirectory(prefix="lx") as folder:
        report = os.path.join(folder, "report.xml")
        options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, path],
                cwd=ROOT,
                env=environment(LOOPX_TEST_LOOPS=kind),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=RUN_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return {"crash": f"not over after {RUN_TIMEOUT_S:g} s"}
        if not os.path.exists(report):
            return {"crash": f"the process ended with {done.returncode}"}
        return outcomes_of(ElementTree.parse(report).getroot())


def summary(outcomes: dict[str, str]) -> dict[str, Any]:
    """Numbers, and by name only what failed."""
    told = list(outcomes.values())
    failed = {name: why for name, why in outcomes.items() if why not in ("passed", "skipped")}
    counts = {"passed": told.count("passed"), "skipped": told.count("skipped")}
    return {**counts, "failed": failed}


def outcomes_of(report: ElementTree.Element) -> dict[str, str]:
    """Each test's outcome by its name, from a report in JUnit's format."""
    found: dict[str, str] = {}
    for case in report.iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = reason(child)
            elif child.tag == "skipped" and outcome == "passed":
                outcome = "skipped"
        if found.get(name, "passed") in ("passed", "skipped"):
            found[name] = outcome  # a failed teardown is a second entry of the same name
    return found


def reason(failure: ElementTree.Element) -> str:
    """The exception of a failed test, in one line without this machine's paths."""
    message = failure.get("message", "")
    lines = [line.strip("E ") for line in (failure.text or "").splitlines() if line[:2] == "E "]
    first = message.splitlines()[0] if message else (lines or ["failed"])[-1]
    return first.replace(str(ROOT), ".").replace("|", "/")[:REASON_CHARACTERS]
