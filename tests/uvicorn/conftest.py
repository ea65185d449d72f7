"""The fixtures of the uvicorn tests: both kinds of loop, and a skip where uvicorn is not there.

Owns nothing itself: `loop_kind` is defined in tests/support/loops.py.
"""

import pytest

from tests.support.loops import loop_kind

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")

__all__ = ["loop_kind"]
