"""`python -m loopx`: the report, and running scripts that know nothing of loopx.

Every test starts a process, as users do.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import loopx
from tests.support.children import ROOT, TIMEOUT_S, environment, run_python

# Prints what a script can see of its surroundings, and the loop that each way of asking gives.
SCRIPT = """
import asyncio, json, sys
async def main():
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    return type(loop).__module__.split(".")[0], loop.get_debug()
kinds = [asyncio.run(main())]
with asyncio.Runner() as runner:
    kinds.append(runner.run(main()))
loop = asyncio.new_event_loop()
kinds.append(loop.run_until_complete(main()))
loop.close()
print(json.dumps({
    "name": __name__, "argv": sys.argv, "path": sys.path[0], "kinds": kinds,
    "main": sys.modules["__main__"].main is main, "spec": getattr(__spec__, "name", None),
}))
"""


def deny(code: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m loopx` under a filter that denies io_uring with `code`."""
    source = f"""
    import runpy, sys
    from tests.support.seccomp import deny_io_uring
    deny_io_uring({code})
    sys.argv = ["loopx", *sys.argv[1:]]
    runpy.run_module("loopx", run_name="__main__")
    """
    return run_python("-c", textwrap.dedent(source), *arguments)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    path = folder / "unmodified.py"
    path.write_text(SCRIPT)
    return path


def seen_by(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_version_is_the_packages() -> None:
    done = run_python("-m", "loopx", "--version")
    assert (done.returncode, done.stdout) == (0, f"loopx {loopx.__version__}\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert loopx.__version__ == project["version"]


def test_info_is_a_table() -> None:
    done = run_python("-m", "loopx", "info")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    facts = dict(line.split(None, 1) for line in lines[:6])
    assert facts["engine"] == "io_uring"
    assert facts["kernel"] == os.uname().release
    assert facts["ring"].startswith("SINGLE_ISSUER DEFER_TASKRUN TASKRUN_FLAG")
    assert any(line.startswith("RLIMIT_MEMLOCK  ") for line in lines)
    # The sysctl came with Linux 6.6.
    has_sysctl = os.path.exists("/proc/sys/kernel/io_uring_disabled")
    wanted = ["kernel.io_uring_disabled", "0" if has_sysctl else "not"]
    assert any(line.split()[:2] == wanted for line in lines)
    features = lines[lines.index("Features") + 1 :]
    start = features[0].index("used for")
    # Aligned: no row's text but the last column's reaches over the last column's start.
    assert all(row[start - 1] == " " and row[start] != " " for row in features)
    assert all(row.split()[0] in ("yes", "no") for row in features[1:])
    assert any(row.split()[:4] == ["yes", "opcode", "RECV", "5.6"] for row in features)


def test_info_as_json() -> None:
    done = run_python("-m", "loopx", "info", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["engine"] == "io_uring" and found["loopx"] == loopx.__version__
    assert found["limits"]["seccomp_mode"] is not None
    by_name = {(row["kind"], row["name"]): row for row in found["features"]}
    assert by_name["set-up", "DEFER_TASKRUN"]["available"] is True


@pytest.mark.parametrize(
    ("code", "cause"), [(errno.EPERM, "EPERM-seccomp"), (errno.ENOSYS, "ENOSYS")]
)
def test_info_without_io_uring_fails_and_names_the_cause(code: int, cause: str) -> None:
    done = deny(code, "info")
    assert done.returncode == 1
    assert f"engine    none: {cause}" in done.stdout
    assert f"loopx: io_uring is not available ({cause}" in done.stderr
    rows = [line.split()[:3] for line in done.stdout.splitlines()]
    assert ["no", "opcode", "RECV"] in rows and not any(row[:1] == ["yes"] for row in rows)
    done = deny(code, "info", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["cause"].startswith(cause)


def test_a_script_gets_loopx_however_it_asks(script: Path, tmp_path: Path) -> None:
    arguments = ["one", "--debug", "-m", "-h"]
    done = run_python("-m", "loopx", "run", str(script), *arguments, cwd=tmp_path)
    found = seen_by(done)
    assert found["kinds"] == [["loopx", False]] * 3
    assert found["name"] == "__main__" and found["main"] is True and found["spec"] is None
    assert found["argv"] == [str(script), *arguments]
    assert found["path"] == str(script.parent)


def test_the_folder_of_a_linked_script_is_the_real_one(script: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(script)
    found = seen_by(run_python("-m", "loopx", "run", "link.py", cwd=tmp_path))
    assert found["argv"] == ["link.py"]
    assert found["path"] == str(script.parent)


def test_a_safe_path_stays_safe(script: Path, tmp_path: Path) -> None:
    done = run_python("-P", "-m", "loopx", "run", str(script), cwd=tmp_path)
    assert seen_by(done)["path"] not in (str(script.parent), str(tmp_path), "")


def test_a_module_runs_as_python_runs_it(script: Path) -> None:
    done = run_python("-m", "loopx", "run", "-m", "unmodified", "-x", cwd=script.parent)
    found = seen_by(done)
    assert found["kinds"] == [["loopx", False]] * 3
    assert found["name"] == "__main__" and found["spec"] == "unmodified"
    assert found["argv"] == [str(script), "-x"]
    assert found["path"] == str(script.parent)


def test_a_folder_and_an_archive_run(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__main__.py").write_text("import beside\n" + SCRIPT)
    (folder / "beside.py").write_text("")
    archive = tmp_path / "app.pyz"
    with ZipFile(archive, "w") as file:
        for name in ("__main__.py", "beside.py"):
            file.write(folder / name, name)
    for path in (folder, archive):
        found = seen_by(run_python("-m", "loopx", "run", str(path), cwd=tmp_path))
        assert found["kinds"] == [["loopx", False]] * 3
        assert found["path"] == str(path)


def test_debug_mode(script: Path) -> None:
    done = run_python("-m", "loopx", "run", "--debug", str(script))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kinds"] == [["loopx", True]] * 3


def test_installing_warns_nobody_but_a_scripts_own_warnings_stay(tmp_path: Path) -> None:
    script = tmp_path / "warns.py"
    script.write_text("import warnings\nwarnings.warn('mine', DeprecationWarning)\n")
    done = run_python("-W", "always", "-m", "loopx", "run", str(script))
    assert done.returncode == 0
    assert "DeprecationWarning: mine" in done.stderr
    assert done.stderr.count("Warning:") == 1, done.stderr


def test_exit_status_and_traceback_are_the_scripts(tmp_path: Path) -> None:
    script = tmp_path / "ends.py"
    script.write_text("import sys\nsys.exit(7)\n")
    assert run_python("-m", "loopx", "run", str(script)).returncode == 7
    script.write_text("async def main():\n    1 / 0\nimport asyncio\nasyncio.run(main())\n")
    done = run_python("-m", "loopx", "run", str(script))
    assert done.returncode == 1
    assert f'File "{script}", line 2, in main' in done.stderr
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    for arguments, said in (
        (["run"], "a script or -m module is needed"),
        (["run", "--debug"], "a script or -m module is needed"),
        (["run", "-m"], "expected one argument"),
        (["run", str(tmp_path / "absent.py")], "no such file"),
        (["walk"], "invalid choice"),
    ):
        done = run_python("-m", "loopx", *arguments)
        assert done.returncode == 2, arguments
        assert said in done.stderr


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "JSON"])
def test_a_reader_of_the_report_may_go_away(arguments: list[str]) -> None:
    """As `| head` does: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "loopx", "info", *arguments],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            timeout=TIMEOUT_S,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_run_without_io_uring_names_the_cause(script: Path) -> None:
    done = deny(errno.EPERM, "run", str(script))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("loopx: io_uring is not available (EPERM-seccomp): ")


def test_making_a_loop_without_io_uring_raises_the_named_error() -> None:
    source = f"""
    import loopx
    from tests.support.seccomp import deny_io_uring
    deny_io_uring({errno.EPERM})
    try:
        loopx.new_event_loop()
    except loopx.EngineUnavailable as failure:
        print(failure.cause, failure.errno)
    """
    done = run_python("-W", "error", "-c", textwrap.dedent(source))
    assert (done.stdout, done.stderr) == (f"EPERM-seccomp {errno.EPERM}\n", "")


def test_help_names_the_commands() -> None:
    done = run_python("-m", "loopx")
    assert done.returncode == 2
    assert "info" in done.stdout and "run" in done.stdout
    done = run_python("-m", "loopx", "run", "-h")
    assert done.returncode == 0 and "(script.py | -m module)" in done.stdout
