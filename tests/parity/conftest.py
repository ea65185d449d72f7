"""The fixtures of the parity tests: each test runs once on asyncio's loop and once on loopx.

Owns nothing itself: `loop`, `loop_factory` and `loop_kind` are defined in tests/support/loops.py,
so that tests outside this folder can ask for the same pair.
"""

from tests.support.loops import loop, loop_factory, loop_kind

__all__ = ["loop", "loop_factory", "loop_kind"]
