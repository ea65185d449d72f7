"""uvloop with the transports and the TLS of aiofastnet: one more loop to compare with.

aiofastnet is no loop of its own; what it does to one is what a user would choose it for.
"""

from __future__ import annotations

import asyncio
from importlib import import_module


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make one; ImportError where either is not installed."""
    fastnet = import_module("aiofastnet")
    loop: asyncio.AbstractEventLoop = fastnet.patch_loop(import_module("uvloop").new_event_loop())
    return loop
