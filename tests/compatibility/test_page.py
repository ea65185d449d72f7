"""docs/compatibility.md is complete, and is what its JSON says.

Owns: nothing; it reads the two files and pyproject.toml.
Thread: the tests' own.
"""

import asyncio
import json
import re
import tomllib
from typing import Any

import pytest

from tests.compatibility.page import render
from tests.compatibility.uses import USES
from tests.support.children import ROOT

# What the extra installs for the tests' own sake, or as a companion of what is listed.
NOT_LISTED = {"pytest", "psutil", "trustme", "hypothesis", "uvloop"}


def public_methods() -> set[str]:
    return {name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_")}


@pytest.fixture(scope="module")
def report() -> Any:
    return json.loads((ROOT / "docs" / "compatibility.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")


def test_every_method_has_a_use_and_a_row(page: str) -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert public_methods() <= set(USES)
    assert public_methods() <= listed


def test_every_library_has_a_row(report: Any) -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    wanted = {re.split(r"[\[>=]", line)[0] for line in extras["ecosystem"]}
    listed = {name for suite in report["suites"] for name in suite["packages"]}
    assert wanted - NOT_LISTED <= listed


def test_the_page_is_what_the_outcomes_say(report: Any, page: str) -> None:
    assert page == render(report)


def test_loopx_fails_nothing_that_asyncio_passes(report: Any) -> None:
    worse = [name for name, found in report["methods"].items() if found["loopx"] != "passed"]
    for suite in report["suites"]:
        ours, theirs = (suite["outcomes"].get(kind, {}) for kind in ("loopx", "asyncio"))
        if ours["passed"] < theirs.get("passed", 0):
            worse.append(suite["name"])
    assert worse == []
