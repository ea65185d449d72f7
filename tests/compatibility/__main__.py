"""`python -m tests.compatibility`: runs everything and writes docs/compatibility.json and .md.

Owns: the order of the runs, what is known of the machine, and the two files.
Thread: the main thread; each run is a process of its own.
Must not: write anything unless all runs were made.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import sys
from typing import Any

import pytest

from bench.results import describe_commit, describe_machine
from tests.compatibility import page
from tests.compatibility.suites import KINDS, METHODS, SUITES, run_tests, summary, version_of
from tests.support.children import ROOT
from tests.support.databases import program

JSON = ROOT / "docs" / "compatibility.json"
PAGE = ROOT / "docs" / "compatibility.md"
SERVERS = {
    "PostgreSQL": ("postgres", "/usr/lib/postgresql/*/bin"),
    "Redis": ("redis-server",),
    "MariaDB": ("mariadbd",),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compatibility", description=__doc__)
    parser.add_argument("--render", action="store_true", help="write the page from the JSON alone")
    if not parser.parse_args(arguments).render:
        JSON.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    report = json.loads(JSON.read_text(encoding="utf-8"))
    PAGE.write_text(page.render(report), encoding="utf-8")
    return 0


def measured() -> dict[str, Any]:
    """Run all there is; a few minutes."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "git": describe_commit(),
        "versions": versions(),
        "methods": methods(),
        "suites": [
            {
                "name": suite.name,
                "packages": {name: version_of(name) for name in suite.packages},
                "outcomes": {kind: summary(told(suite.path, kind)) for kind in suite.kinds},
            }
            for suite in SUITES
        ],
    }


def versions() -> dict[str, str]:
    """Python's, uvloop's and the servers'."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = {"Python": python, "uvloop": version_of("uvloop") or "none"}
    for name, places in SERVERS.items():
        try:
            path = program(*places)
        except pytest.skip.Exception:
            continue
        output = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        if match := re.search(r"\d+\.\d+[.\d]*", output):
            found[name] = match[0]
    return found


def methods() -> dict[str, dict[str, str]]:
    """{method: {kind of loop: outcome}}."""
    found: dict[str, dict[str, str]] = {}
    for kind in KINDS:
        for test, outcome in told(METHODS, kind).items():
            method = test.rpartition("-")[2].rstrip("]")
            found.setdefault(method, {})[kind] = outcome
    return dict(sorted(found.items()))


def told(path: str, kind: str) -> dict[str, str]:
    outcome = run_tests(path, kind)
    print(f"{path} on {kind}: {page.score(summary(outcome))}", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
