"""Compiles the C programs of the benchmarks into ``bench/build/``.

Owns that directory. A program is compiled again when one of its sources is newer. The load
generator speaks TLS if the OpenSSL headers are found; otherwise it is built without, and rows
that need TLS fail with a message that names the missing package.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.paths import BENCH, BUILD

COMPILER = "gcc"
FLAGS = ("-O2", "-g", "-std=gnu11", "-Wall", "-Wextra")


class BuildError(RuntimeError):
    """A C program could not be compiled; the message holds the compiler's and the remedy."""


@dataclass(frozen=True)
class Program:
    """One executable or library: its C files, the headers it depends on, and what it links with."""

    name: str
    sources: tuple[str, ...]
    headers: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    remedy: str = ""
    flags: tuple[str, ...] = ()
    speaks_tls: bool = False     # with OpenSSL, if its headers are there


PROGRAMS = (
    Program(
        "echo_epoll",
        ("limits/echo_epoll.c",),
        ("limits/epoll_server.h", "limits/limits.h"),
    ),
    Program(
        "transfer_epoll",
        ("limits/transfer_epoll.c",),
        ("limits/epoll_server.h", "limits/limits.h", "load/repeated.h", "load/segments.h"),
    ),
    Program(
        "echo_tls",
        ("limits/echo_tls.c",),
        ("limits/epoll_server.h", "limits/limits.h"),
        remedy="it needs OpenSSL's headers: apt-get install libssl-dev",
        speaks_tls=True,
    ),
    Program(
        "echo_uring",
        ("limits/echo_uring.c",),
        ("limits/limits.h",),
        ("-l:liburing.a",),
        "it needs liburing's headers and static library: apt-get install liburing-dev",
    ),
    Program(
        "callgrind_marks.so",
        ("load/callgrind_marks.c",),
        (),
        remedy="it needs valgrind's headers: apt-get install valgrind",
        flags=("-shared", "-fPIC"),
    ),
    Program("core_distance", ("load/core_distance.c",), (), flags=("-pthread",)),
    Program(
        "echo_load",
        ("load/echo_load.c", "load/channel.c"),
        (
            "load/channel.h",
            "load/histogram.h",
            "load/options.h",
            "load/repeated.h",
            "load/segments.h",
        ),
        speaks_tls=True,
    ),
)


@functools.cache
def has_openssl() -> bool:
    """Return whether the compiler finds OpenSSL's headers (Debian: libssl-dev)."""
    probe = subprocess.run(
        [COMPILER, "-E", "-x", "c", "-"],
        input="#include <openssl/ssl.h>\n",
        capture_output=True,
        text=True,
        check=False,
    )
    return probe.returncode == 0


def is_current(program: Program, target: Path) -> bool:
    """Return whether ``target`` exists and is newer than all that it is made of."""
    if not target.exists():
        return False
    made = target.stat().st_mtime
    inputs = [BENCH / name for name in program.sources + program.headers]
    return all(path.stat().st_mtime <= made for path in [*inputs, Path(__file__)])


def build(program: Program) -> Path:
    """Compile ``program`` if it is out of date and return the path of the executable.

    Raises BuildError with the compiler's message if it cannot be compiled.
    """
    with_tls = program.speaks_tls and has_openssl()
    # In another place: the headers may come once it is built without.
    target = (BUILD / "with-openssl" if with_tls else BUILD) / program.name
    if is_current(program, target):
        return target
    if shutil.which(COMPILER) is None:
        raise BuildError(f"{COMPILER} is not installed: apt-get install {COMPILER}")
    target.parent.mkdir(parents=True, exist_ok=True)
    libraries = list(program.libraries)
    flags = [*FLAGS, *program.flags]
    if with_tls:
        flags.append("-DWITH_TLS")
        libraries += ["-lssl", "-lcrypto"]
    sources = [str(BENCH / name) for name in program.sources]
    command = [COMPILER, *flags, "-o", str(target), *sources, *libraries]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BuildError(f"{program.name}: {program.remedy}\n{result.stderr}")
    return target


def executable(name: str) -> Path:
    """Return the path of the program called ``name``, compiled if need be."""
    for program in PROGRAMS:
        if program.name == name:
            return build(program)
    raise KeyError(name)


def main() -> int:
    """Compile everything; print what was made."""
    try:
        for program in PROGRAMS:
            if program.name != "echo_tls" or has_openssl():
                print(build(program).relative_to(BENCH.parent))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if not has_openssl():
        print("no echo_tls, and echo_load has no TLS: apt-get install libssl-dev", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
