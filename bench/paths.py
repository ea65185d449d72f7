"""Where the benchmarks' files are, and on which cores things run.

Owns names only: no directory is made and no file is read here. The server under test has a core
of its own and the load generator has the other, so that neither takes time from the other.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
BUILD = BENCH / "build"
RESULTS = BENCH / "results"
EXAMPLES = ROOT / "examples"

SERVER_CORE = 0
LOAD_CORE = 1


def without_machine_paths(text: str) -> str:
    """Return ``text`` without the paths of this machine's folders: results are published."""
    for folder in (str(ROOT), sys.prefix, sys.base_prefix, tempfile.gettempdir()):
        text = text.replace(f"{folder}/", "").replace(folder, "")
    return text
