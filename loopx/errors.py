"""Exceptions that loopx itself raises.

Owns: the public exception types, nothing else; any thread may raise them.  It must not import
anything of loopx: every layer, the ring included, imports this file.  What asyncio or the standard
library has an exception for (`OSError`, `RuntimeError`, `asyncio.TimeoutError`) is not here.
"""

from __future__ import annotations


class EngineUnavailable(RuntimeError):
    """io_uring cannot be had: raised when a loop, or its ring, is made.

    The message names the cause and what to do about it.  `errno` is what io_uring_setup(2)
    answered.  `cause` is a short word for programs, one of 'ENOSYS' (not in this kernel),
    'ENOSYS-seccomp', 'EPERM-sysctl' (kernel.io_uring_disabled), 'EPERM-seccomp', 'EPERM' (some
    other security policy), 'ENOMEM', 'EMFILE', 'ENFILE', 'kernel-too-old', or the name of any
    other errno.
    """

    def __init__(self, message: str, errno: int, cause: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.cause = cause

    def __reduce__(self) -> tuple[type[EngineUnavailable], tuple[str, int, str]]:
        # Pools send exceptions to other processes; the default would forget two arguments.
        return type(self), (str(self), self.errno, self.cause)
