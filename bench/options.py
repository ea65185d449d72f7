"""Numbers on the benchmarks' command lines, as types for argparse.

Owns what a figure must be for a run to mean anything. No round, or no time to measure in, would
replace good results by empty ones. Must not know any one command.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def at_least(minimum: int) -> Callable[[str], int]:
    """Return a type that takes whole numbers from ``minimum`` on."""

    def whole_number(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{text} is less than {minimum}")
        return value

    return whole_number


def time_s(text: str) -> float:
    """Return a time that can be measured in."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time to measure in")
    return value
