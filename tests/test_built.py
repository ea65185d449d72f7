"""What is built: extensions that need no liburing at run time, and a wheel with all its files.

Looks at the extensions that this interpreter imports; the wheel itself is checked by `make wheel`.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess

import pytest

from tests.support import wheel
from tests.support.loops import require_loopx

require_loopx()

# The C library, under the names that its parts have had, and the loader.
SYSTEM = re.compile(r"(lib(c|m|pthread|dl|rt)|ld-linux[\w-]*)\.so\.\d+")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is missing")
@pytest.mark.parametrize("name", wheel.EXTENSIONS)
def test_an_extension_needs_the_c_library_alone(name: str) -> None:
    path = importlib.import_module(f"loopx.{name}").__file__
    assert path is not None
    shown = subprocess.run(
        ["readelf", "--dynamic", path], capture_output=True, text=True, check=True
    ).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", shown)
    assert [library for library in needed if not SYSTEM.fullmatch(library)] == []
    assert "SYMTAB" in shown  # it was read


def test_a_wheel_is_complained_of() -> None:
    sources = [f"loopx/{path.name}" for path in (wheel.ROOT / "loopx").glob("*.py*")]
    parts = [path.relative_to(wheel.ROOT).as_posix() for path in wheel.ROOT.glob("loopx/*/*.py")]
    extensions = [f"loopx/{name}.cpython-313-x86_64-linux-gnu.so" for name in wheel.EXTENSIONS]
    whole = [*sources, *parts, *extensions, "loopx/py.typed", "loopx-1.dist-info/METADATA"]
    assert wheel.complaints(whole) == []
    for name in ("loopx/py.typed", "loopx/_core.pyi", "loopx/ring/control.py", extensions[0]):
        assert len(wheel.complaints(set(whole) - {name})) == 1
    assert len(wheel.complaints([*whole, "tests/__init__.py"])) == 1
