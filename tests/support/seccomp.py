"""A seccomp filter that denies system calls: io_uring's as container runtimes do, or any other.

Owns one BPF program, installed with prctl(2) through ctypes.  It binds the calling thread and
all that it starts, for good: call it in a child process, never in the process of the tests.
"""

from __future__ import annotations

import ctypes
import os

# prctl(2), seccomp(2), <linux/filter.h>, <linux/seccomp.h>.
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
LOAD_WORD_ABSOLUTE = 0x20
JUMP_GREATER_OR_EQUAL = 0x35
JUMP_GREATER = 0x25
RETURN = 0x06
NUMBER_OFFSET = 0  # of seccomp_data.nr
# The same on every architecture: io_uring_setup, io_uring_enter, io_uring_register.
FIRST_CALL, LAST_CALL = 425, 427


class Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_true", ctypes.c_uint8),
        ("jump_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction)))


def deny_io_uring(errno: int) -> None:
    """Make the three system calls of io_uring fail with `errno` from here on.

    Raises OSError where the kernel has no seccomp filters.
    """
    deny_calls(errno, FIRST_CALL, LAST_CALL)


def deny_calls(errno: int, first: int, last: int) -> None:
    """Likewise the system calls whose numbers are in this range, on this machine's architecture."""
    instructions = (Instruction * 5)(
        Instruction(LOAD_WORD_ABSOLUTE, 0, 0, NUMBER_OFFSET),
        Instruction(JUMP_GREATER_OR_EQUAL, 0, 2, first),
        Instruction(JUMP_GREATER, 1, 0, last),
        Instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | errno),
        Instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = Program(len(instructions), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *([ctypes.c_void_p] * 4))
    for arguments in (
        (PR_SET_NO_NEW_PRIVS, 1, None, None, None),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), None, None),
    ):
        if libc.prctl(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
