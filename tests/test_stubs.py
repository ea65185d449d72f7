"""The types are right: the stubs say what the compiled modules do, and mypy finds no mistake.

Runs mypy.stubtest and mypy in processes of their own, from the project's root. What stubtest
cannot know stands, with the reason, in tests/stubtest_allowlist.txt. Needs loopx built.
"""

import ast
import importlib
import subprocess
import sys

import pytest

from tests.support.children import ROOT, environment
from tests.support.loops import require_loopx
from tests.support.patience import PATIENCE

require_loopx()

# stubtest of 1.20 no longer takes what a .py file imports for what the module has.
pytest.importorskip("mypy.version", minversion="1.20")

EXTENSIONS = ["_core", "_liburing", "_transport_base"]
OLDEST = "3.11"
RUNNING = "{}.{}".format(*sys.version_info)


def run(tmp_path, *arguments):
    """What a module of mypy's printed; it must have succeeded."""
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(MYPY_CACHE_DIR=str(tmp_path / "cache")),
        capture_output=True,
        text=True,
        timeout=170 * PATIENCE,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_has_a_stub(name):
    """stubtest says nothing of a module without one."""
    assert importlib.import_module(f"loopx.{name}").__file__.endswith(".so")
    assert (ROOT / "loopx" / f"{name}.pyi").is_file()


@pytest.mark.time_limit(180)
def test_the_stubs_match_the_runtime(tmp_path):
    output = run(tmp_path, "mypy.stubtest", "--allowlist", "tests/stubtest_allowlist.txt", "loopx")
    assert "Success: no issues found in" in output


def test_the_binding_has_what_its_stub_says():
    """stubtest does not look into cffi's objects."""
    from loopx._liburing import ffi, lib

    stub = ast.parse((ROOT / "loopx" / "_liburing.pyi").read_text())
    (declared,) = (node for node in stub.body if getattr(node, "name", "") == "_Lib")
    functions = [node for node in declared.body if isinstance(node, ast.FunctionDef)]
    constants = [node.target.id for node in declared.body if isinstance(node, ast.AnnAssign)]
    assert sorted([*constants, *(node.name for node in functions)]) == sorted(dir(lib))
    for node in functions:
        parameters = ffi.typeof(getattr(lib, node.name)).args
        assert len(node.args.posonlyargs) == 1 + len(parameters), node.name


@pytest.mark.time_limit(180)
@pytest.mark.parametrize("version", sorted({OLDEST, RUNNING}))
def test_mypy_finds_no_mistake(version, tmp_path):
    output = run(tmp_path, "mypy", "--strict", "--python-version", version, "--package", "loopx")
    assert "Success: no issues found in" in output
