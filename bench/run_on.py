"""Runs an unmodified script on a loop: ``python -m bench.run_on LOOP SCRIPT [ARGUMENT...]``.

For loops that have no such command of their own. It installs an event-loop policy that makes loops
of the registry, which is how asyncio code has always been moved to another loop, and then runs the
script as ``__main__`` in this process. Policies are deprecated from Python 3.14 on.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import warnings
from pathlib import Path

from bench.loops import LOOPS, new_event_loop


def install_policy(name: str) -> None:
    """Make ``asyncio.new_event_loop`` return loops of the kind called ``name``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        class RegistryPolicy(asyncio.DefaultEventLoopPolicy):
            """asyncio's own policy, but for the loop that it makes."""

            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                return new_event_loop(name)

        asyncio.set_event_loop_policy(RegistryPolicy())


def main() -> int:
    """Run a script on a loop; its arguments are passed on as they are."""
    if len(sys.argv) < 3 or sys.argv[1] not in LOOPS:
        print(f"usage: python -m bench.run_on {'|'.join(LOOPS)} SCRIPT [ARGUMENT...]",
              file=sys.stderr)
        return 2
    name, script = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path(script).resolve().parent)
    install_policy(name)
    runpy.run_path(script, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
