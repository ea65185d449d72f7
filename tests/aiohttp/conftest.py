"""The fixtures of the aiohttp tests: both loops, and a skip where aiohttp is not installed.

Owns nothing itself: `loop`, `loop_factory` and `loop_kind` are defined in tests/support/loops.py.
"""

import pytest

from tests.support.loops import loop, loop_factory, loop_kind

pytest.importorskip("aiohttp")

__all__ = ["loop", "loop_factory", "loop_kind"]
