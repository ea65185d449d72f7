"""What a wheel must contain, and must not: `python -m tests.support.wheel FILE...`, for make wheel.

Owns the expectations.  Reads archives; it must not import loopx, whose wheel may be another one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[2]
EXTENSIONS = ("_core", "_liburing", "_transport_base")


def complaints(names: Iterable[str]) -> list[str]:
    """What is wrong with a wheel of these files: nothing, or a line for each."""
    there = set(names)
    wanted = [path.relative_to(ROOT).as_posix() for path in (ROOT / "loopx").rglob("*.py")]
    wanted += [path.relative_to(ROOT).as_posix() for path in (ROOT / "loopx").glob("*.pyi")]
    found = [f"missing: {name}" for name in [*wanted, "loopx/py.typed"] if name not in there]
    for name in EXTENSIONS:
        if not any(n.startswith(f"loopx/{name}.") and n.endswith(".so") for n in there):
            found.append(f"missing: the extension {name}")
    for name in sorted(there):
        top = name.split("/")[0]
        if top != "loopx" and not top.endswith(".dist-info"):
            found.append(f"does not belong there: {name}")
    return found


def main(files: list[str]) -> int:
    """Check each wheel; 1 when one is wrong."""
    status = 0
    for file in files:
        with ZipFile(file) as wheel:
            for complaint in complaints(wheel.namelist()):
                print(f"{Path(file).name}: {complaint}", file=sys.stderr)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
