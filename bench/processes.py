"""Starting, pinning, measuring and ending the processes of a benchmark.

Owns every child process: a ``Server`` is a context manager and no child outlives it. Used from the
driver's main thread only. What a child writes to stderr is kept and shown when a run fails.
"""

from __future__ import annotations

import ctypes
import functools
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from bench.paths import ROOT, without_machine_paths

READY_TIMEOUT_SECONDS = 15.0
STOP_TIMEOUT_SECONDS = 5.0
STDERR_LINES = 30
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # man 2 prctl
CLOCK_OF_PROCESS = 2  # CPUCLOCK_SCHED: nanoseconds that the scheduler gave (Linux)


class RunError(RuntimeError):
    """A run did not measure what it should have; the message says why, with stderr."""


def prepare_child(cores: Sequence[int]) -> None:
    """Pin the calling process, and have it killed when its parent ends, however that ends.

    Used in a child between fork and exec.
    """
    os.sched_setaffinity(0, cores)
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def process_cpu_seconds(pid: int) -> float:
    """Return user plus system time of all threads of ``pid``, ended ones included, in seconds.

    Uses the process's CPU clock (man 3 clock_getcpuclockid), which counts nanoseconds where
    /proc/PID/stat counts hundredths of a second.
    """
    return time.clock_gettime(((~pid) << 3) | CLOCK_OF_PROCESS)


class Server:
    """A server process: started in ``__enter__``, ready when that returns, ended in ``__exit__``.

    ``command`` is run on ``core`` from the project's root. If ``port`` is None the process must
    print ``READY <port>``, or ``READY @<name>`` where it serves a Unix socket of that abstract name
    (which has no file to clean up); otherwise it is ready when that port accepts a connection.
    """

    def __init__(self, command: Sequence[str], core: int, port: int | None = None) -> None:
        self.command = list(command)
        self.core = core
        self.port = port or 0
        self.unix_name = ""
        self.announces_port = port is None
        self.stderr: IO[bytes] = tempfile.TemporaryFile()

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self.announces_port else subprocess.DEVNULL,
            stderr=self.stderr,
            preexec_fn=functools.partial(prepare_child, [self.core]),
        )
        try:
            if self.announces_port:
                self.read_address()
            else:
                self.await_port()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.stderr.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def read_address(self) -> None:
        """Wait for the readiness line and take the address from it."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            left = max(deadline - time.monotonic(), 0.0)
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise RunError(f"server not ready after {READY_TIMEOUT_SECONDS:g} s" + self.notes())
            byte = os.read(self.process.stdout.fileno(), 1)
            if not byte:
                raise RunError(f"server ended before it was ready ({self.outcome()})")
            line += byte
        word, _, address = line.decode().strip().partition(" ")
        if word != "READY":
            raise RunError(f"unexpected readiness line {line!r}" + self.notes())
        if address.startswith("@"):
            self.unix_name = address
        else:
            self.port = int(address)

    def await_port(self) -> None:
        """Wait until something listens on the port: a state of the kernel, read without a probe
        connection that the server would see."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not is_listening(self.port):
            if self.process.poll() is not None:
                raise RunError(f"server ended before it was ready ({self.outcome()})")
            if time.monotonic() > deadline:
                raise RunError(f"server not ready after {READY_TIMEOUT_SECONDS:g} s" + self.notes())
            time.sleep(0.02)

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used so far, in seconds."""
        return process_cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        """Return the server's resident memory, counted page by page (exact, unlike statm)."""
        return resident_bytes(self.pid)

    def check_alive(self) -> None:
        """Raise RunError if the server has ended."""
        if self.process.poll() is not None:
            raise RunError(f"the server ended during the run ({self.outcome()})")

    def outcome(self) -> str:
        """Return the exit code in words, with what the server wrote to stderr."""
        code = self.process.wait(STOP_TIMEOUT_SECONDS)
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        return how + self.notes()

    def notes(self) -> str:
        """Return the end of the server's stderr, indented, or nothing."""
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").splitlines()
        shown = "\n".join(f"    {line}" for line in lines[-STDERR_LINES:])
        return without_machine_paths(f"\n  server's stderr:\n{shown}") if shown else ""

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL if it does not obey."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process in bytes, from smaps_rollup (man 5 proc)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RunError(f"no Rss in smaps_rollup of process {pid}")


def is_listening(port: int) -> bool:
    """Return whether an IPv4 TCP socket listens on ``port`` (state 0A of /proc/net/tcp)."""
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(wanted) and fields[3] == "0A":
            return True
    return False


def python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of the project with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def run_pinned(command: Sequence[str], cores: Sequence[int], timeout_seconds: float) -> str:
    """Run a command to its end on ``cores`` and return its stdout.

    Raises RunError with its stderr if it fails or takes longer than ``timeout_seconds``.
    """
    program = Path(command[0]).name
    try:
        result = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            preexec_fn=functools.partial(prepare_child, cores),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{program} did not end within {timeout_seconds:g} s") from error
    if result.returncode != 0:
        reason = without_machine_paths(result.stderr.strip()) or "no message"
        raise RunError(f"{program} failed with code {result.returncode}: {reason}")
    return result.stdout
