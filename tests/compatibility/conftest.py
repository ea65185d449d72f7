"""The fixtures of these tests: the loops of tests/support/loops.py, and that no process is left.

Owns nothing itself.
"""

from tests.support.loops import loop, loop_factory, loop_kind
from tests.support.processes import no_children

__all__ = ["loop", "loop_factory", "loop_kind", "no_children"]
