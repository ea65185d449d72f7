"""The command line: `python -m loopx info`, `python -m loopx run script.py`, `--version`.

Owns: argument parsing, the printed report, and running an unmodified script or module as
`__main__` with loopx as its event loop.  Runs on the main thread of a process of its own; it must
not be imported by the package.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import runpy
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import loopx
from loopx.errors import EngineUnavailable
from loopx.ring.control import ensure_available
from loopx.ring.features import Report, report

USAGE_RUN = "%(prog)s [-h] [--debug] (script.py | -m module) [argument ...]"


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    parser, run_parser = make_parsers()
    if arguments[:1] == ["run"]:
        # By hand, since argparse would take the script's options for its own.
        own, theirs = split_run_arguments(arguments[1:])
        return run(run_parser.parse_args(own), theirs, run_parser)
    options = parser.parse_args(arguments)
    if options.command == "info":
        return info(options.json)
    parser.print_help()
    return 2


def make_parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of the whole command line, and that of `run` by itself."""
    parser = argparse.ArgumentParser(
        prog="python -m loopx", description="An asyncio event loop for Linux on io_uring."
    )
    parser.add_argument("--version", action="version", version=f"loopx {loopx.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    info_parser = commands.add_parser(
        "info", help="show the engine, the kernel's features and the limits in force"
    )
    info_parser.add_argument("--json", action="store_true", help="as JSON")
    run_parser = commands.add_parser(
        "run",
        usage=USAGE_RUN,
        help="run an unmodified script or module with loopx as its event loop",
        description="Runs a script as python does, but asyncio.run(), asyncio.Runner() and "
        "asyncio.new_event_loop() give loopx's event loop.",
    )
    run_parser.add_argument("--debug", action="store_true", help="asyncio's debug mode")
    run_parser.add_argument("-m", dest="module", help="run a module instead of a script")
    run_parser.add_argument("script", nargs="?", help="a script, or a folder with __main__.py")
    return parser, run_parser


def split_run_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide what follows `run`: up to the script or `-m module`, and what is theirs."""
    for index, argument in enumerate(arguments):
        if argument == "-m":
            end = index + 2
        elif argument.startswith("-") and argument != "-":
            if not argument.startswith("-m"):
                continue
            end = index + 1  # -mmodule
        else:
            end = index + 1
        return list(arguments[:end]), list(arguments[end:])
    return list(arguments), []


def run(
    options: argparse.Namespace, arguments: list[str], parser: argparse.ArgumentParser
) -> int:
    """Run the script or module in this process."""
    if options.module is None and options.script is None:
        parser.error("a script or -m module is needed")
    try:
        ensure_available()
    except EngineUnavailable as failure:
        print(f"loopx: {failure}", file=sys.stderr)
        return 1
    if options.debug:
        # asyncio asks the environment whenever a loop is made; children inherit the wish.
        os.environ["PYTHONASYNCIODEBUG"] = "1"
    install()
    if options.module is not None:
        sys.argv = [options.module, *arguments]  # run_module puts the file's path there
        runpy.run_module(options.module, run_name="__main__", alter_sys=True)
        return 0
    if not os.path.exists(options.script):
        print(f"loopx: can't open file {options.script!r}: no such file", file=sys.stderr)
        return 2
    sys.argv = [options.script, *arguments]
    if not sys.flags.safe_path:
        # `python -m` put the working folder first; python puts the script's, and a folder or
        # archive itself, which run_path does.
        del sys.path[0]
        if os.path.isfile(options.script) and not is_archive(options.script):
            sys.path.insert(0, os.path.dirname(os.path.realpath(options.script)))
    runpy.run_path(options.script, run_name="__main__")
    return 0


def is_archive(path: str) -> bool:
    """Whether python would import `__main__` from it."""
    import zipfile

    return zipfile.is_zipfile(path)


def install() -> None:
    """Make asyncio give loopx's loop to whoever asks for a new one."""
    if hasattr(asyncio, "set_event_loop_policy"):
        with warnings.catch_warnings():
            # Deprecated from Python 3.14 on; the script has no part in this use of it.
            warnings.simplefilter("ignore", DeprecationWarning)
            loopx.install()
        return
    # Python 3.16 has no policies: asyncio.run and Runner look this name up in asyncio.events.
    for module in (asyncio, asyncio.events):
        setattr(module, "new_event_loop", loopx.new_event_loop)


def info(as_json: bool) -> int:
    """Print the report; 1 when io_uring cannot be had."""
    found = report()
    if as_json:
        facts = {"loopx": loopx.__version__, "python": python_version()}
        text = json.dumps({**facts, **dataclasses.asdict(found)}, indent=2)
    else:
        text = "\n".join(report_lines(found))
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader has seen enough (`| head`). What is buffered would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if found.engine == "none":
        print(f"loopx: {found.error}", file=sys.stderr)
        return 1
    return 0


def python_version() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def report_lines(found: Report) -> Iterator[str]:
    """The report as aligned text."""
    yield from aligned(
        [
            ("loopx", loopx.__version__),
            ("python", python_version()),
            ("engine", found.engine if found.ring else f"none: {found.cause}"),
            ("kernel", found.kernel_release),
            ("liburing", f"{found.liburing_version} (linked in)"),
            ("ring", ring_text(found)),
        ]
    )
    yield ""
    yield "Limits in force"
    yield from aligned(limit_rows(found))
    yield ""
    yield "Features"
    header = ("", "kind", "name", "since", "used for, or why not")
    yield from aligned(
        [
            header,
            *(
                (
                    "yes" if row.available else "no",
                    row.kind,
                    row.name,
                    row.since_kernel,
                    row.used_by if row.available else f"{row.why} ({row.used_by})",
                )
                for row in found.features
            ),
        ]
    )


def ring_text(found: Report) -> str:
    if found.ring is None:
        return "-"
    extras = [
        text
        for text, there in (
            ("registered descriptor", found.ring.registered_descriptor),
            ("no iowait", found.ring.no_iowait),
        )
        if there
    ]
    return ", ".join([" ".join(found.ring.setup_flags), *extras])


def limit_rows(found: Report) -> list[tuple[str, ...]]:
    limits = found.limits
    meanings: dict[Any, str] = {
        None: "not known to this kernel",
        0: "0 (allowed to all)",
        1: "1 (allowed to the group and the administrator)",
        2: "2 (forbidden to all)",
    }
    seccomp: dict[Any, str] = {None: "unknown", 0: "0 (none)", 1: "1 (strict)", 2: "2 (filter)"}
    group = limits.io_uring_group
    return [
        ("RLIMIT_MEMLOCK", bytes_text(limits.memlock_bytes)),
        ("RLIMIT_NOFILE", "unlimited" if limits.nofile < 0 else f"{limits.nofile} descriptors"),
        ("kernel.io_uring_disabled", meanings.get(limits.io_uring_disabled, "?")),
        ("kernel.io_uring_group", "-" if group is None else f"{group}"),
        ("seccomp", seccomp.get(limits.seccomp_mode, "?")),
    ]


def bytes_text(count: int) -> str:
    return "unlimited" if count < 0 else f"{count} bytes ({count / 1024:,.0f} KiB)"


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Each row as a line, every column but the last padded to its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
