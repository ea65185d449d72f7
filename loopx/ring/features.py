"""Probe: which io_uring features this kernel has, what loopx uses each for, and why one is missing.

Owns: the table of opcodes, feature bits and set-up flags, and the report that
`python -m loopx info` prints.  Any thread may call `report()`: it makes a few small rings and
closes them at once.  It must not be used by loops, which need no probe; it changes nothing.
Numbers are Linux's ABI (<linux/io_uring.h>), so that headers older than the kernel do not matter.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from loopx._liburing import ffi, lib
from loopx.errors import EngineUnavailable
from loopx.ring.control import (
    ENTER_NO_IOWAIT,
    ENTER_REGISTERED_RING,
    ENTRIES_MIN,
    RingControl,
    ensure_available,
)
from loopx.ring.limits import Limits, read_limits

PLANNED = "planned: "


@dataclass(frozen=True)
class Feature:
    """A row of the report. `used_by` starts with 'planned: ' for what loopx does not use yet;
    `why` says why it is missing, and is empty when `available`."""

    kind: str  # 'opcode', 'feature', 'set-up' or 'registration'
    name: str
    available: bool
    since_kernel: str
    used_by: str
    why: str


@dataclass(frozen=True)
class RingFacts:
    """What a ring has when it is made as loops make theirs."""

    setup_flags: tuple[str, ...]
    registered_descriptor: bool
    no_iowait: bool


@dataclass(frozen=True)
class Report:
    """Everything `python -m loopx info` shows. `error` and `cause` are empty while `engine` is
    'io_uring'; when it is 'none' they say what stands in the way, and `ring` is None."""

    engine: str
    error: str
    cause: str
    kernel_release: str
    liburing_version: str
    limits: Limits
    ring: RingFacts | None
    features: tuple[Feature, ...]


class Row(NamedTuple):
    """A thing to probe for: its number or bit, the kernel that brought it, and what for."""

    name: str
    number: int
    since_kernel: str
    used_by: str


OPCODES = (
    Row("POLL_ADD", 6, "5.1", "add_reader, accepting, datagrams, pipes, processes, wake-ups"),
    Row("RECV", 27, "5.6", "receiving (multishot, Linux 6.0, into provided buffers)"),
    Row("SEND", 26, "5.6", "sending on streams"),
    Row("ASYNC_CANCEL", 14, "5.5", "closing, cancelled operations"),
    Row("POLL_REMOVE", 7, "5.1", PLANNED + "changing a poll in place (update, Linux 5.13)"),
    Row("ACCEPT", 13, "5.5", PLANNED + "accepting in batches (multishot, Linux 5.19)"),
    Row("CONNECT", 16, "5.5", PLANNED + "connecting"),
    Row("SENDMSG", 9, "5.3", "sending several pieces at once"),
    Row("RECVMSG", 10, "5.3", PLANNED + "datagrams (multishot, Linux 6.0)"),
    Row("SEND_ZC", 47, "6.0", PLANNED + "sending large buffers without a copy"),
    Row("SHUTDOWN", 34, "5.11", PLANNED + "half-closing in order with sends"),
    Row("CLOSE", 19, "5.6", PLANNED + "closing files"),
    Row("TIMEOUT", 11, "5.4", PLANNED + "timeouts of single operations"),
    Row("SOCKET", 45, "5.19", PLANNED + "making sockets"),
    Row("BIND", 56, "6.11", PLANNED + "making sockets"),
    Row("LISTEN", 57, "6.11", PLANNED + "making sockets"),
    Row("MSG_RING", 40, "5.18", PLANNED + "messages between sub-loops"),
    Row("FUTEX_WAIT", 51, "6.7", PLANNED + "parking sub-loops"),
    Row("FUTEX_WAKE", 52, "6.7", PLANNED + "waking sub-loops"),
    Row("WAITID", 50, "6.7", PLANNED + "statuses of processes"),
    Row("READ", 22, "5.6", PLANNED + "files"),
    Row("WRITE", 23, "5.6", PLANNED + "files"),
    Row("OPENAT", 18, "5.6", PLANNED + "files"),
    Row("STATX", 21, "5.6", PLANNED + "files"),
    Row("FSYNC", 3, "5.1", PLANNED + "files"),
    Row("FALLOCATE", 17, "5.6", PLANNED + "files"),
    Row("FTRUNCATE", 55, "6.9", PLANNED + "files"),
    Row("RENAMEAT", 35, "5.11", PLANNED + "files"),
    Row("UNLINKAT", 36, "5.11", PLANNED + "files"),
    Row("MKDIRAT", 37, "5.15", PLANNED + "files"),
)

# Bits of io_uring_params.features.
FEATURES = (
    Row("EXT_ARG", 1 << 8, "5.11", "waiting with a timeout in the one system call of a turn"),
    Row("NODROP", 1 << 1, "5.5", "no completion is lost when the completion queue is full"),
    Row("SUBMIT_STABLE", 1 << 2, "5.5", "arguments may be reused after submission"),
    Row("FAST_POLL", 1 << 5, "5.7", "sockets that are not ready cost no kernel thread"),
    Row("NO_IOWAIT", 1 << 17, "6.15", "an idle loop does not count as waiting for I/O"),
    Row("RSRC_TAGS", 1 << 10, "5.13", PLANNED + "registered descriptors"),
    Row("CQE_SKIP", 1 << 11, "5.17", "sends and cancels that need no completion"),
    Row("LINKED_FILE", 1 << 12, "5.17", PLANNED + "chains of opening, reading and closing"),
    Row("REG_REG_RING", 1 << 13, "6.3", PLANNED + "registering through the registered descriptor"),
    Row("RECVSEND_BUNDLE", 1 << 14, "6.10", PLANNED + "measuring only (kernels had ordering bugs)"),
    Row("MIN_TIMEOUT", 1 << 15, "6.12", "waiting for more of what several peers stream"),
)

SINGLE_ISSUER = lib.IORING_SETUP_SINGLE_ISSUER
DEFER_TASKRUN = lib.IORING_SETUP_DEFER_TASKRUN
COOP_TASKRUN = lib.IORING_SETUP_COOP_TASKRUN
TASKRUN_FLAG = lib.IORING_SETUP_TASKRUN_FLAG
# Flags of io_uring_setup(2), each with the flags that it needs.
SETUPS = (
    Row("SINGLE_ISSUER", SINGLE_ISSUER, "6.0", "the kernel locks less for one thread"),
    Row(
        "DEFER_TASKRUN",
        SINGLE_ISSUER | DEFER_TASKRUN,
        "6.1",
        "completions are worked off once a turn; multishot receive comes with it",
    ),
    Row("COOP_TASKRUN", COOP_TASKRUN, "5.19", "where DEFER_TASKRUN is missing"),
    Row(
        "TASKRUN_FLAG",
        COOP_TASKRUN | TASKRUN_FLAG,
        "5.19",
        "a busy loop sees without a system call that there is I/O",
    ),
    Row("NO_SQARRAY", 1 << 16, "6.6", PLANNED + "a little less memory for a ring"),
)

# Registrations that are tried on a ring.
BUFFER_RINGS = Row("PBUF_RING", 22, "5.19", "provided buffers: an idle connection pins none")
REGISTERED_RING = Row("RING_FDS", 20, "5.18", "each system call is about 20 ns cheaper")
WORKER_LIMITS = Row("IOWQ_MAX_WORKERS", 19, "5.15", "at most 4 kernel threads of each kind")


def report() -> Report:
    """Probe the kernel. Never raises for want of io_uring: the report says so."""
    limits = read_limits()
    version = str(ffi.string(lib.LOOPX_LIBURING_VERSION), "ascii")
    try:
        ensure_available()
        ring = RingControl(ENTRIES_MIN, 2 * ENTRIES_MIN)
    except EngineUnavailable as failure:
        return Report(
            engine="none",
            error=str(failure),
            cause=failure.cause,
            kernel_release=limits.kernel_release,
            liburing_version=version,
            limits=limits,
            ring=None,
            features=tuple(_missing_rows(failure.cause)),
        )
    try:
        return Report(
            engine="io_uring",
            error="",
            cause="",
            kernel_release=limits.kernel_release,
            liburing_version=version,
            limits=limits,
            ring=_ring_facts(ring),
            features=tuple(_probe_rows(ring, limits)),
        )
    finally:
        ring.close()


def _ring_facts(ring: RingControl) -> RingFacts:
    names = {
        SINGLE_ISSUER: "SINGLE_ISSUER",
        DEFER_TASKRUN: "DEFER_TASKRUN",
        COOP_TASKRUN: "COOP_TASKRUN",
        TASKRUN_FLAG: "TASKRUN_FLAG",
        lib.IORING_SETUP_CQSIZE: "CQSIZE",
        lib.IORING_SETUP_CLAMP: "CLAMP",
    }
    return RingFacts(
        setup_flags=tuple(name for bit, name in names.items() if ring.setup_flags & bit),
        registered_descriptor=bool(ring.enter_flags & ENTER_REGISTERED_RING),
        no_iowait=bool(ring.enter_flags & ENTER_NO_IOWAIT),
    )


def _all_rows() -> Iterator[tuple[str, Row]]:
    yield from (("set-up", row) for row in SETUPS)
    yield from (("registration", row) for row in (BUFFER_RINGS, REGISTERED_RING, WORKER_LIMITS))
    yield from (("feature", row) for row in FEATURES)
    yield from (("opcode", row) for row in OPCODES)


def _missing_rows(cause: str) -> Iterator[Feature]:
    for kind, row in _all_rows():
        why = f"io_uring is not available ({cause})"
        yield Feature(kind, row.name, False, row.since_kernel, row.used_by, why)


def _probe_rows(ring: RingControl, limits: Limits) -> Iterator[Feature]:
    supported = _supported_opcodes(ring)
    for kind, row in _all_rows():
        if kind == "opcode":
            code = 0 if row.number in supported else -1
        elif kind == "feature":
            code = 0 if ring.features & row.number else -1
        elif kind == "set-up":
            code = _try_setup(row.number)
        else:
            code = _try_registration(ring, row)
        why = "" if code == 0 else _why_missing(row, code, limits)
        yield Feature(kind, row.name, code == 0, row.since_kernel, row.used_by, why)


def _why_missing(row: Row, code: int, limits: Limits) -> str:
    """`code` is the errno of an attempt, or -1 where the kernel merely does not list it."""
    major, minor = map(int, row.since_kernel.split("."))
    if limits.kernel_version < (major, minor):
        return f"needs Linux {row.since_kernel}, this is {limits.kernel_release}"
    if code > 0:
        return f"the kernel refuses it: {os.strerror(code)}"
    return f"not in this kernel ({limits.kernel_release}), though Linux {row.since_kernel} has it"


def _supported_opcodes(ring: RingControl) -> frozenset[int]:
    """By IORING_REGISTER_PROBE (Linux 5.6)."""
    probe = lib.io_uring_get_probe_ring(ffi.cast("struct io_uring *", ring.address))
    if probe == ffi.NULL:
        return frozenset()
    try:
        numbers = (row.number for row in OPCODES)
        return frozenset(n for n in numbers if lib.io_uring_opcode_supported(probe, n))
    finally:
        lib.io_uring_free_probe(probe)


def _try_setup(flags: int) -> int:
    """0, or the errno with which io_uring_setup(2) refuses these flags."""
    params = ffi.new("struct io_uring_params *")
    params.flags = flags
    fd: int = lib.loopx_setup(ENTRIES_MIN, params)
    if fd < 0:
        return -fd
    os.close(fd)
    return 0


def _try_registration(ring: RingControl, row: Row) -> int:
    if row is REGISTERED_RING:
        # RingControl has tried; what is left is a thread whose 16 slots are all taken.
        return 0 if ring.enter_flags & ENTER_REGISTERED_RING else errno.EBUSY
    try:
        if row is BUFFER_RINGS:
            ring.register_buffer_ring(ENTRIES_MIN, 0)
        else:
            ring.limit_workers(0, 0)
    except OSError as failure:
        return failure.errno or -1
    except EngineUnavailable as failure:
        return failure.errno
    return 0
