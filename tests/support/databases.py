"""Starts the database servers that the distribution brings, each for one test run.

Owns: their processes, their folders and the threads that read what they log.
Thread: that of the tests.
Must not: touch an instance that is there already, or leave a process or a file behind.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.net import unused_port

STOP_TIMEOUT_S = 30.0
# A port is free when it is looked for; somebody else may take it before the server does.
TRIES = 3
# Whom servers run as that refuse root.
UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class Database:
    """Where a server listens, and as whom it may be asked."""

    folder: str
    port: int
    process: subprocess.Popen[bytes]
    user: str = "loopx"
    host: str = "127.0.0.1"


def program(name: str, *places: str) -> str:
    """The newest installed program of this name; skips the test where there is none."""
    places = (*os.environ["PATH"].split(os.pathsep), "/usr/sbin", *places)
    found = [path for place in places for path in sorted(glob.glob(os.path.join(place, name)))]
    if not found:
        pytest.skip(f"{name} is not installed: make test-ecosystem installs it")
    return found[-1]


@functools.cache
def unprivileged() -> Mapping[str, Any]:
    """Options of Popen for a process that must not be root's."""
    return {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []} if not os.getuid() else {}


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """A short path that the unprivileged user owns; Unix sockets' names must be short."""
    folder = tempfile.mkdtemp(prefix="lx")
    if not os.getuid():
        shutil.chown(folder, UNPRIVILEGED, "nogroup")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def prepare(*command: str, folder: str) -> None:
    """Run the program that makes an empty database."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **unprivileged()
    )
    assert done.returncode == 0, done.stdout.decode()


def start(
    command: list[str], folder: str, ready: bytes
) -> tuple[subprocess.Popen[bytes], threading.Thread] | bytes:
    """Start a server and wait for the line that says it is ready; its log if it ends instead."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a Ctrl-C at the terminal is for the tests alone
        **unprivileged(),
    )
    assert process.stdout is not None
    log = b""
    for line in process.stdout:
        log += line
        if ready in line:
            # Nobody reads on, but the server goes on writing.
            drain = threading.Thread(target=process.stdout.read, name=f"log of {command[0]}")
            drain.start()
            return process, drain
    process.wait()
    process.stdout.close()
    return log


@contextlib.contextmanager
def running(
    command: Callable[[int], list[str]], folder: str, ready: bytes, stop: signal.Signals
) -> Iterator[Database]:
    """A server from when it is ready to the end of the block; `command` is given the port."""
    for _ in range(TRIES):
        port = unused_port()
        started = start(command(port), folder, ready)
        if not isinstance(started, bytes):
            break
    else:
        raise AssertionError(started.decode())
    process, drain = started
    try:
        yield Database(folder, port, process)
        assert process.poll() is None, "the server ended during the tests"
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            drain.join()
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def postgresql() -> Iterator[Database]:
    """PostgreSQL with the superuser `loopx`, whom it trusts; TCP, and a socket in the folder."""
    place = "/usr/lib/postgresql/*/bin"
    initdb, postgres = program("initdb", place), program("postgres", place)
    with private_folder() as folder:
        data = os.path.join(folder, "data")
        options = ["--auth=trust", "--username=loopx", "--encoding=UTF8", "--locale=C"]
        prepare(initdb, "-D", data, *options, "--no-sync", folder=folder)
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]

        def command(port: int) -> list[str]:
            assigned = [word for setting in settings for word in ("-c", setting)]
            return [postgres, "-D", data, "-p", str(port), *assigned]

        ready = b"ready to accept connections"
        with running(command, folder, ready, signal.SIGINT) as server:
            yield server


@contextlib.contextmanager
def redis() -> Iterator[Database]:
    """Redis that stores nothing; TCP, and the socket `redis.sock` in the folder."""
    server_program = program("redis-server")
    with private_folder() as folder:
        path = os.path.join(folder, "redis.sock")

        def command(port: int) -> list[str]:
            options = ["--bind", "127.0.0.1", "--unixsocket", path, "--save", ""]
            return [server_program, "--port", str(port), *options]

        with running(command, folder, b"Ready to accept connections", signal.SIGTERM) as server:
            yield server


@contextlib.contextmanager
def mariadb() -> Iterator[Database]:
    """MariaDB whose `root` has no password; TCP, and the socket `mariadb.sock` in the folder."""
    install, server_program = program("mariadb-install-db"), program("mariadbd")
    with private_folder() as folder:
        data = os.path.join(folder, "data")
        login = "--auth-root-authentication-method=normal"
        prepare(install, "--no-defaults", f"--datadir={data}", login, folder=folder)

        def command(port: int) -> list[str]:
            options = {
                "datadir": data,
                "socket": os.path.join(folder, "mariadb.sock"),
                "pid-file": os.path.join(folder, "mariadb.pid"),
                "bind-address": "127.0.0.1",
                "port": str(port),
                "max-allowed-packet": "64M",
            }
            assigned = [f"--{name}={value}" for name, value in options.items()]
            return [server_program, "--no-defaults", *assigned]

        with running(command, folder, b"ready for connections", signal.SIGTERM) as server:
            yield server
