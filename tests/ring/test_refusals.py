"""What loopx says where io_uring cannot be had: sysctl, seccomp, limits, old kernels.

The real thing in child processes where it can be had (filters, limits, the sysctl as root), and
the sentence for each cause from made-up limits where it cannot (old kernels).
"""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loopx.errors import EngineUnavailable
from loopx.ring.limits import Limits, explain, read_limits
from tests.support.children import ROOT, TIMEOUT_S, environment, output_of
from tests.support.sanitizers import UNDER_ASAN

SYSCTL = Path("/proc/sys/kernel/io_uring_disabled")
NOBODY = 65534

# Prints cause, errno and message of the refusal, or 'made' when there is none.
TRY = """
from loopx.errors import EngineUnavailable
from loopx.ring.control import RingControl, ensure_available
def attempt():
    try:
        ensure_available()
        ring = RingControl(256, 1024)
        ring.register_buffer_ring(256, 0)
        ring.close()
    except EngineUnavailable as failure:
        print(failure.cause, failure.errno, failure)
    else:
        print("made")
"""


def limits(**changes: object) -> Limits:
    """A recent kernel that allows everything, but for `changes`."""
    usual: dict[str, object] = {
        "kernel_release": "6.12.0-test",
        "memlock_bytes": 65536,
        "nofile": 1024,
        "io_uring_disabled": 0,
        "io_uring_group": -1,
        "in_io_uring_group": False,
        "seccomp_mode": 0,
    }
    return Limits(**{**usual, **changes})  # type: ignore[arg-type]


def attempt_under_filter(code: int) -> str:
    deny = f"from tests.support.seccomp import deny_io_uring\ndeny_io_uring({code})"
    return output_of(f"{TRY}\n{deny}\nattempt()")[0]


def test_seccomp_that_answers_eperm_is_named() -> None:
    said = attempt_under_filter(errno.EPERM)
    assert said.startswith(f"EPERM-seccomp {errno.EPERM} io_uring is not available")
    assert "seccomp" in said and "Docker" in said and "io_uring_setup" in said


def test_seccomp_that_answers_enosys_is_named() -> None:
    said = attempt_under_filter(errno.ENOSYS)
    # Only from Linux 6.6 on does the sysctl show that the kernel itself has io_uring.
    cause = "ENOSYS-seccomp" if SYSCTL.exists() else "ENOSYS"
    assert said.startswith(f"{cause} {errno.ENOSYS} io_uring is not available")
    assert "seccomp filter hides it" in said


@contextmanager
def io_uring_disabled(value: int) -> Iterator[None]:
    """Set the sysctl, for the whole machine, and put it back."""
    # Two runs of the tests at once must not take each other's value for the original.
    with open(Path(tempfile.gettempdir(), "loopx-tests-sysctl.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = SYSCTL.read_text()
        try:
            SYSCTL.write_text(str(value))
            yield
        finally:
            SYSCTL.write_text(before)


def sysctl_can_be_set() -> bool:
    if os.environ.get("LOOPX_TEST_SHARED_KERNEL"):
        return False
    try:
        SYSCTL.write_text(SYSCTL.read_text())
    except OSError:
        return False
    return True


@pytest.mark.skipif(
    not sysctl_can_be_set(),
    reason="needs root and Linux 6.6, and a kernel that no other run of the tests shares",
)
@pytest.mark.parametrize("value", [1, 2])
def test_the_sysctl_is_named(value: int) -> None:
    # The child has imported everything before the sysctl is set, so that other users of the
    # machine are shut out for a millisecond only.
    source = f"{TRY}\nimport os\nprint('ready', flush=True)\ninput()\n"
    if value == 1:
        source += f"os.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n"
    child = subprocess.Popen(
        [sys.executable, "-c", source + "attempt()"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with io_uring_disabled(value):
            said, _ = child.communicate("go\n", timeout=TIMEOUT_S)
    assert said.startswith(f"EPERM-sysctl {errno.EPERM} io_uring is not available")
    assert f"kernel.io_uring_disabled is {value}" in said
    assert "sysctl -w kernel.io_uring_disabled=0" in said


@pytest.mark.skipif(
    UNDER_ASAN, reason="the address sanitizer cannot live with a limit of address space"
)
def test_no_memory_at_all_is_named_with_the_limit() -> None:
    # Explaining once beforehand has Python take the memory that it needs for that.
    said = output_of(
        f"{TRY}\nimport resource\n"
        "from loopx.ring.limits import explain\n"
        "explain(12)\n"
        "memory = resource.getpagesize() * int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (12288, 12288))\n"
        "ensure_available()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (memory, memory))\n"
        "attempt()"
    )[0]
    assert said.startswith(f"ENOMEM {errno.ENOMEM} io_uring is not available")
    assert "RLIMIT_MEMLOCK is 12288 bytes" in said and "ulimit -l" in said


def test_a_lack_of_descriptors_is_named_and_not_remembered() -> None:
    said = output_of(
        f"{TRY}\nimport resource\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "explained = open('/proc/thread-self/status')  # the limit stands while it is read\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))\n"
        "attempt()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "attempt()"
    )
    assert said[0].startswith(f"EMFILE {errno.EMFILE} io_uring is not available")
    assert "RLIMIT_NOFILE is 3" in said[0] and "ulimit -n" in said[0]
    assert said[1] == "made"


# For its first wait a loop on the main thread makes its ring, an eventfd, the self-pipe's two ends
# and a duplicate of one.
@pytest.mark.parametrize("free", range(5))
def test_a_loop_that_lacks_descriptors_for_its_first_wait(free: int) -> None:
    """The same error wherever they run out, nothing left open, and the loop works later."""
    lines = output_of(
        """
        import asyncio, gc, os, resource, sys, warnings
        import loopx
        warnings.simplefilter("error", ResourceWarning)
        sys.unraisablehook = lambda unraisable: print(unraisable.exc_value)
        loop = loopx.new_event_loop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        for _ in range(int(sys.argv[1])):
            os.close(held.pop())
        sleep = asyncio.sleep(0.001)
        try:
            loop.run_until_complete(sleep)
        except loopx.EngineUnavailable as error:
            print(error.cause, error.errno, error)
            gc.collect()
        for number in held:
            os.close(number)
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
        """,
        str(free),
    )
    assert len(lines) == 1
    assert lines[0].startswith(f"EMFILE {errno.EMFILE} io_uring is not available")
    assert "RLIMIT_NOFILE is 64" in lines[0] and "ulimit -n" in lines[0]


def test_old_kernels_are_told_which_is_needed() -> None:
    for code in (errno.EINVAL, errno.ENOSYS):
        failure = explain(code, limits(kernel_release="5.10.0-30", io_uring_disabled=None))
        assert failure.cause == ("ENOSYS" if code == errno.ENOSYS else "kernel-too-old")
        assert "the kernel is 5.10.0-30; loopx needs Linux 6.1 or newer" in str(failure)


def test_a_kernel_built_without_io_uring_is_named() -> None:
    failure = explain(errno.ENOSYS, limits(io_uring_disabled=None))
    assert failure.cause == "ENOSYS" and "CONFIG_IO_URING" in str(failure)


def test_one_of_the_group_is_not_sent_to_the_sysctl() -> None:
    allowed = limits(io_uring_disabled=1, io_uring_group=5, in_io_uring_group=True, seccomp_mode=2)
    assert explain(errno.EPERM, allowed).cause == "EPERM-seccomp"
    refused = limits(io_uring_disabled=1, io_uring_group=5, seccomp_mode=2)
    failure = explain(errno.EPERM, refused)
    assert failure.cause == "EPERM-sysctl" and "(now 5)" in str(failure)


def test_other_policies_are_not_blamed_on_seccomp() -> None:
    failure = explain(errno.EPERM, limits())
    assert failure.cause == "EPERM" and "SELinux" in str(failure)


def test_a_full_file_table_is_told_from_a_full_process() -> None:
    failure = explain(errno.ENFILE, limits())
    assert failure.cause == "ENFILE" and "fs.file-max" in str(failure)


def test_the_limits_read_are_those_in_force() -> None:
    import resource

    found = read_limits()
    assert found.kernel_release == os.uname().release
    assert found.nofile == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.memlock_bytes == resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    assert found.kernel_version >= (6, 1)


def test_the_exception_survives_pickling() -> None:
    failure = explain(errno.EMFILE, limits())
    copy = pickle.loads(pickle.dumps(failure))
    assert isinstance(copy, EngineUnavailable)
    assert (str(copy), copy.errno, copy.cause) == (str(failure), errno.EMFILE, "EMFILE")
