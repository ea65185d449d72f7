"""The report against other witnesses: the kernel's headers, a probe made by hand, the kernel.

Rings are made and closed on the thread that runs the tests; what changes a process for good
(a seccomp filter) happens in children.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from loopx.ring import features
from loopx.ring.control import RingControl
from loopx.ring.features import OPCODES, Feature, Row, report
from loopx.ring.limits import read_limits
from tests.support.children import output_of

IO_URING_REGISTER = 427
REGISTER_PROBE = 8
OP_SUPPORTED = 1
HEADERS = ("/usr/include/liburing/io_uring.h", "/usr/include/linux/io_uring.h")


class ProbeOperation(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("resv", ctypes.c_uint8),
        ("flags", ctypes.c_uint16),
        ("resv2", ctypes.c_uint32),
    )


class Probe(ctypes.Structure):
    _fields_ = (
        ("last_op", ctypes.c_uint8),
        ("ops_len", ctypes.c_uint8),
        ("resv", ctypes.c_uint16),
        ("resv2", ctypes.c_uint32 * 3),
        ("ops", ProbeOperation * 256),
    )


def rows(kind: str) -> dict[str, Feature]:
    return {row.name: row for row in report().features if row.kind == kind}


def test_opcodes_agree_with_a_probe_made_by_hand() -> None:
    ring = RingControl(8, 16)
    probe = Probe()
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(IO_URING_REGISTER, ring.fd, REGISTER_PROBE, ctypes.byref(probe), 256)
    ring.close()
    assert done == 0
    found = rows("opcode")
    assert set(found) == {row.name for row in OPCODES}
    for row in OPCODES:
        supported = bool(probe.ops[row.number].flags & OP_SUPPORTED)
        assert found[row.name].available == supported, row.name


@pytest.mark.skipif(not Path(HEADERS[0]).exists(), reason="needs liburing's headers")
def test_numbers_agree_with_the_headers() -> None:
    text = "".join(Path(header).read_text() for header in HEADERS if Path(header).exists())
    listing = text[text.index("enum io_uring_op") :]
    names = re.findall(r"IORING_OP_(\w+),", listing[: listing.index("};")])
    numbers = {name: number for number, name in enumerate(names)}
    checked = [row for row in OPCODES if row.name in numbers]
    assert len(checked) >= 20
    assert all(row.number == numbers[row.name] for row in checked)
    bits = dict(re.findall(r"#define IORING_FEAT_(\w+)\s+\(1U << (\d+)\)", text))
    known = [row for row in features.FEATURES if row.name in bits]
    assert len(known) >= 7
    assert all(row.number == 1 << int(bits[row.name]) for row in known)


def test_what_is_missing_says_why_and_what_is_there_does_not() -> None:
    found = report().features
    assert len({(row.kind, row.name) for row in found}) == len(found)
    assert all(bool(row.why) != row.available for row in found)
    assert all(row.used_by and re.fullmatch(r"\d\.\d+", row.since_kernel) for row in found)


def test_what_loops_use_today_is_there() -> None:
    # The kernel 6.1 that loopx asks for has all of it, but for what is newer.
    used = [row for row in report().features if not row.used_by.startswith(features.PLANNED)]
    assert {"RECV", "SEND", "POLL_ADD", "EXT_ARG", "DEFER_TASKRUN", "PBUF_RING"} <= {
        row.name for row in used
    }
    version = read_limits().kernel_version
    for row in used:
        major, minor = map(int, row.since_kernel.split("."))
        assert row.available == (version >= (major, minor)), row


def test_set_up_flags_are_refused_where_the_kernel_does_not_know_them() -> None:
    code = features._try_setup(1 << 31)
    assert code == errno.EINVAL
    row = Row("FUTURE", 1 << 31, "99.0", "nothing")
    why = features._why_missing(row, code, read_limits())
    assert why == f"needs Linux 99.0, this is {os.uname().release}"
    row = Row("REFUSED", 1 << 31, "5.1", "nothing")
    assert "the kernel refuses it: Invalid argument" in features._why_missing(
        row, code, read_limits()
    )


def test_the_report_names_engine_versions_and_ring() -> None:
    found = report()
    assert (found.engine, found.error, found.cause) == ("io_uring", "", "")
    assert found.kernel_release == os.uname().release
    assert re.fullmatch(r"\d+\.\d+", found.liburing_version)
    assert found.ring is not None
    assert {"SINGLE_ISSUER", "DEFER_TASKRUN", "TASKRUN_FLAG"} <= set(found.ring.setup_flags)
    assert json.loads(json.dumps(asdict(found)))["engine"] == "io_uring"


def test_probing_leaves_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    report()
    assert os.listdir("/proc/self/fd") == before


def test_without_io_uring_every_row_says_so() -> None:
    lines = output_of(
        """
        import errno
        from loopx.ring.features import report
        from tests.support.seccomp import deny_io_uring
        deny_io_uring(errno.EPERM)
        found = report()
        print(found.engine, found.cause, found.ring, found.limits.seccomp_mode)
        print(*{(row.available, row.why) for row in found.features})
        print(found.error)
        """
    )
    assert lines[0] == "none EPERM-seccomp None 2"
    assert lines[1] == "(False, 'io_uring is not available (EPERM-seccomp)')"
    assert "seccomp filter forbids" in lines[2]
