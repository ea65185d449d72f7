"""What this process is allowed: limits in force, and why io_uring was refused.

Owns: reading the kernel release, resource limits, the io_uring sysctls and the seccomp mode, and
turning an errno of io_uring_setup(2) into a sentence that says what to do.  Any thread may call
it; nothing is cached, since limits change.  It must not create rings, and it is not on any path
of a loop that works: `control.py` asks only after a failure.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path

from loopx.errors import EngineUnavailable

# The oldest kernel with DEFER_TASKRUN, SINGLE_ISSUER, multishot receive and buffer rings.
KERNEL_NEEDED = (6, 1)
CAP_SYS_ADMIN_BIT = 21
SECCOMP_FILTER = 2  # the value of 'Seccomp:' in /proc/PID/status, see proc_pid_status(5)
SYSTEM_CALLS = "io_uring_setup, io_uring_enter and io_uring_register"


@dataclass(frozen=True)
class Limits:
    """The limits in force for the calling thread; None where the kernel does not tell.

    `memlock_bytes` and `nofile` are soft limits (-1 is unlimited), `io_uring_disabled` and
    `io_uring_group` the sysctls of that name (Linux 6.6), `seccomp_mode` 0, 1 (strict) or
    2 (filter), `in_io_uring_group` whether value 1 of the sysctl lets this process through.
    """

    kernel_release: str
    memlock_bytes: int
    nofile: int
    io_uring_disabled: int | None
    io_uring_group: int | None
    in_io_uring_group: bool
    seccomp_mode: int | None

    @property
    def kernel_version(self) -> tuple[int, int]:
        """Major and minor of the release, (0, 0) if it does not look like one."""
        match = re.match(r"(\d+)\.(\d+)", self.kernel_release)
        return (int(match[1]), int(match[2])) if match else (0, 0)


def read_limits() -> Limits:
    """Read every limit; never raises for a /proc that is missing or hidden."""
    status = _status_fields()
    group = _sysctl("io_uring_group")
    return Limits(
        kernel_release=os.uname().release,
        memlock_bytes=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        io_uring_disabled=_sysctl("io_uring_disabled"),
        io_uring_group=group,
        in_io_uring_group=bool(
            int(status.get("CapEff", "0"), 16) >> CAP_SYS_ADMIN_BIT & 1
            or group is not None
            and group in (os.getegid(), *os.getgroups())
        ),
        seccomp_mode=int(status["Seccomp"]) if "Seccomp" in status else None,
    )


def _sysctl(name: str) -> int | None:
    try:
        return int(Path("/proc/sys/kernel", name).read_text())
    except (OSError, ValueError):
        return None


def _status_fields() -> dict[str, str]:
    # Of the thread, since a filter may have been installed for one thread only.
    try:
        lines = Path("/proc/thread-self/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def explain(code: int, limits: Limits | None = None) -> EngineUnavailable:
    """The exception for an errno of io_uring_setup(2), or of a registration on a new ring.

    `limits` is given by tests; by default what is in force now.
    """
    limits = limits or read_limits()
    if code == errno.EPERM:
        cause, sentence = _explain_eperm(limits)
    elif code == errno.ENOSYS:
        cause, sentence = _explain_enosys(limits)
    elif code == errno.ENOMEM:
        cause, sentence = "ENOMEM", _explain_enomem(limits)
    elif code in (errno.EMFILE, errno.ENFILE):
        cause, sentence = errno.errorcode[code], _explain_descriptors(code, limits)
    elif code == errno.EINVAL and limits.kernel_version < KERNEL_NEEDED:
        cause, sentence = "kernel-too-old", _explain_old_kernel(limits)
    else:
        cause, sentence = errno.errorcode.get(code, str(code)), f"{os.strerror(code)}."
    return EngineUnavailable(f"io_uring is not available ({cause}): {sentence}", code, cause)


def _explain_eperm(limits: Limits) -> tuple[str, str]:
    disabled = limits.io_uring_disabled
    if disabled == 2:
        return "EPERM-sysctl", (
            "the sysctl kernel.io_uring_disabled is 2, which forbids it to every process. "
            "As root: sysctl -w kernel.io_uring_disabled=0"
        )
    if disabled == 1 and not limits.in_io_uring_group:
        return "EPERM-sysctl", (
            "the sysctl kernel.io_uring_disabled is 1, which forbids it to processes outside "
            f"the group kernel.io_uring_group (now {limits.io_uring_group}). As root: "
            "sysctl -w kernel.io_uring_disabled=0, or set kernel.io_uring_group to a group of "
            "this user"
        )
    if limits.seccomp_mode == SECCOMP_FILTER:
        return "EPERM-seccomp", (
            f"a seccomp filter forbids {SYSTEM_CALLS}, as the default profiles of Docker and "
            "containerd do. Run with a profile that allows the three (docker run --security-opt "
            "seccomp=profile.json, or seccomp=unconfined to try; in Kubernetes "
            "securityContext.seccompProfile)"
        )
    return "EPERM", (
        "neither the sysctl kernel.io_uring_disabled nor a seccomp filter forbids it, so another "
        "security policy does (SELinux, AppArmor, a sandbox); look into the kernel's audit log"
    )


def _explain_enosys(limits: Limits) -> tuple[str, str]:
    # The sysctl exists only in kernels that have io_uring, so then a filter must have answered.
    if limits.seccomp_mode == SECCOMP_FILTER and limits.io_uring_disabled is not None:
        return "ENOSYS-seccomp", (
            f"the kernel {limits.kernel_release} has it, but a seccomp filter hides it (it "
            f"answers ENOSYS). Run with a profile that allows {SYSTEM_CALLS}"
        )
    if limits.kernel_version < KERNEL_NEEDED:
        return "ENOSYS", _explain_old_kernel(limits)
    return "ENOSYS", (
        f"the kernel {limits.kernel_release} was built without it (CONFIG_IO_URING), or a "
        "sandbox such as gVisor or a seccomp filter hides it"
    )


def _explain_old_kernel(limits: Limits) -> str:
    needed = ".".join(map(str, KERNEL_NEEDED))
    return f"the kernel is {limits.kernel_release}; loopx needs Linux {needed} or newer"


def _explain_enomem(limits: Limits) -> str:
    memlock = limits.memlock_bytes
    text = "unlimited" if memlock == resource.RLIM_INFINITY else f"{memlock} bytes"
    return (
        f"no memory for a ring; the locked-memory limit RLIMIT_MEMLOCK is {text}. Raise it "
        "(ulimit -l, LimitMEMLOCK= in a systemd unit, docker run --ulimit memlock=-1), and "
        "see whether the control group's memory limit is reached"
    )


def _explain_descriptors(code: int, limits: Limits) -> str:
    if code == errno.ENFILE:
        return (
            "the whole system has too many open files (sysctl fs.file-max); close some or raise it"
        )
    return (
        f"this process has no descriptor left (RLIMIT_NOFILE is {limits.nofile}). Raise it "
        "(ulimit -n, LimitNOFILE= in a systemd unit) or close loops that are not used"
    )
