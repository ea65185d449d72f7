"""Child processes: `subprocess_exec`, `subprocess_shell` and the transport of a process.

Owns each child from its fork until its exit status is taken, and the pidfd that tells of its end.
Called on the loop's own thread only, which may be any thread: no signal handler and no child
watcher of asyncio's is involved. Where there is no pidfd to be had a thread waits instead; it
reaches the loop through `call_soon_threadsafe`. Must not reap a child that it does not own, and
must not signal a process number that may belong to another process by now.

The child is forked on the loop's thread. Another thread would not free the loop: vfork and exec
happen under the GIL. It would change what a child inherits from the thread that forks it: CPU
affinity, namespaces, and whose end its parent-death signal is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal as signals
import subprocess
import threading
from asyncio.base_subprocess import BaseSubprocessTransport
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from loopx._core import LoopCore
else:
    LoopCore = object

logger = logging.getLogger("asyncio")

_P = TypeVar("_P", bound=asyncio.SubprocessProtocol)

# A Python that was built with old kernel headers knows nothing of pidfds.
_HAS_PIDFD = hasattr(os, "pidfd_open") and hasattr(signals, "pidfd_send_signal")

# What is reported for a child whose status somebody else has taken, as asyncio does.
_STATUS_UNKNOWN = 255


class ProcessTransport(BaseSubprocessTransport):
    """One child process: asyncio's transport, with a pidfd in the place of the child watcher.

    The status is taken from the kernel once, by whoever comes first: `_collect`, or a method of
    the `subprocess.Popen` object that a user has got from `get_extra_info("subprocess")`. Both
    leave it in `Popen.returncode` under the lock of that object.
    """

    _loop: Any  # a ProcessMixin; None after connection_lost
    _proc: Any  # a subprocess.Popen; None after connection_lost
    _pipes: dict[int, Any]  # the protocols of the pipes; None until connected
    _connecting = False  # _connect_pipes has begun
    _pidfd = -1  # open while the kernel has the status and the loop waits for it

    def _start(self, args: Any, **options: Any) -> None:  # type: ignore[override]
        self._proc = subprocess.Popen(args, **options)
        try:
            self._watch()
        except BaseException:
            with self._proc:  # closes its pipes and reaps it
                self._proc.kill()
            self._release()
            raise

    # ---- the end of the process -----------------------------------------------------------

    def _watch(self) -> None:
        """Have `_exited` called on the loop when the process has ended."""
        loop, pid = self._loop, self._proc.pid
        if loop._processes is None:
            loop._processes = set()
        loop._processes.add(self)
        try:
            if _HAS_PIDFD:
                self._pidfd = os.pidfd_open(pid)
        except OSError:  # out of descriptors, or gone already
            pass
        if self._pidfd >= 0:
            loop.add_reader(self._pidfd, self._exited)
        else:
            threading.Thread(
                target=self._wait_in_thread, args=(loop, pid), name=f"loopx-wait-{pid}", daemon=True
            ).start()

    def _wait_in_thread(self, loop: LoopCore, pid: int) -> None:
        # The status stays with the kernel, so that the pid is not used again before the loop knows.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        try:
            loop.call_soon_threadsafe(self._exited)
        except RuntimeError:  # the loop is closed
            self._collect()

    def _exited(self) -> None:
        """The process has ended. Called again if an interrupt kept it from coming to its end."""
        if self._returncode is None:
            self._process_exited(self._collect())
        self._release()

    def _process_exited(self, returncode: int) -> None:
        super()._process_exited(returncode)
        # As the newest CPython (gh-119710): who waits for the process does not wait for its
        # pipes, which nobody may read, or another process may hold.
        if self._exit_waiters:
            for waiter in self._exit_waiters:
                if not waiter.done():
                    waiter.set_result(returncode)
            self._exit_waiters.clear()

    def _kernel_id(self) -> tuple[int, int]:
        """The process as waitid(2) takes it."""
        return (os.P_PIDFD, self._pidfd) if self._pidfd >= 0 else (os.P_PID, self._proc.pid)

    def _has_exited(self) -> bool:
        if self._proc.returncode is not None:
            return True
        try:
            return os.waitid(*self._kernel_id(), os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _collect(self) -> int:
        """The status of the process, which has ended; frees its pid."""
        process = self._proc
        # Held for long by a thread in Popen.wait() only, which returns now.
        with process._waitpid_lock:
            if process.returncode is None:
                try:
                    result = os.waitid(*self._kernel_id(), os.WEXITED)
                except ChildProcessError:
                    process.returncode = _STATUS_UNKNOWN
                    logger.warning(
                        "child process pid %d exit status already read: will report returncode %d",
                        process.pid,
                        _STATUS_UNKNOWN,
                    )
                else:
                    assert result is not None
                    exited = result.si_code == os.CLD_EXITED
                    process.returncode = result.si_status if exited else -result.si_status
            status: int = process.returncode
        return status

    def _release(self) -> None:
        """Stop watching."""
        pidfd, self._pidfd = self._pidfd, -1
        if self._loop._processes is not None:
            self._loop._processes.discard(self)
        if pidfd >= 0:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)

    def _loop_closes(self) -> None:
        """The loop is closing and will tell nobody any more. A child that runs may go on."""
        if self._has_exited():
            self._exited()
        elif self._closed:
            self._reap_in_thread()

    def _reap_in_thread(self) -> None:
        """The process was killed; its end is nobody's business but must leave no zombie."""
        self._release()
        with contextlib.suppress(RuntimeError):  # no more threads: Popen tries again, later
            threading.Thread(target=self._proc.wait, name="loopx-reap", daemon=True).start()

    # ---- what users call ------------------------------------------------------------------

    def send_signal(self, signal: int) -> None:
        """Send `signal` unless the process has ended; ProcessLookupError after connection_lost."""
        self._check_proc()
        if self._returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signals.pidfd_send_signal(self._pidfd, signal)
            elif not self._has_exited():
                os.kill(self._proc.pid, signal)

    def terminate(self) -> None:
        """Send SIGTERM; see send_signal."""
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL; see send_signal."""
        self.send_signal(signals.SIGKILL)

    def close(self) -> None:
        """Close the pipes and kill the process if it still runs. Idempotent."""
        if self._closed:
            return
        self._closed = True
        loop = self._loop
        if self._proc is None or loop.forked:  # over; or a forked child's copy: not its process
            return
        if not loop.is_closed():
            self._close_pipes()
        if self._has_exited():
            self._collect()
            if loop.is_closed():  # else it will call _exited
                self._release()
            return
        if loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._proc.kill()
        if loop.is_closed():
            self._reap_in_thread()

    # ---- the pipes ------------------------------------------------------------------------

    def _close_pipes(self) -> None:
        for protocol in self._pipes.values():
            if protocol is not None:
                protocol.pipe.close()

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        self._connecting = True
        process, loop = self._proc, self._loop
        try:
            await super()._connect_pipes(waiter)
        finally:
            # Cancelled meanwhile: close those that were connected since, too.
            if self._closed and not loop.is_closed():
                self._close_pipes()
            self._close_unconnected(process)

    def _close_unconnected(self, process: subprocess.Popen[bytes]) -> None:
        for number, file in enumerate((process.stdin, process.stdout, process.stderr)):
            if file is not None and self._pipes.get(number) is None:
                file.close()


class ProcessMixin(LoopCore):
    """Starting child processes. State: those whose exit status is still to be taken."""

    _processes: set[ProcessTransport] | None = None

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _P],
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **options: Any,
    ) -> tuple[ProcessTransport, _P]:
        """Run `program` with `args`; return its transport and its protocol.

        `stdin`, `stdout` and `stderr`: subprocess.PIPE (a pipe, never a socket), DEVNULL, STDOUT
        for `stderr`, a descriptor, a file, or None to inherit ours. `options` are those of
        subprocess.Popen, which does the work and whose errors are raised: an OSError when the
        program cannot be started, SubprocessError when a `preexec_fn` raises. ValueError for what
        would make the streams text or buffered. Cancelled: the process is killed and reaped.
        """
        _refuse_text(universal_newlines, bufsize, encoding, errors, text)
        if shell:
            raise ValueError("shell must be False")
        return await self._spawn(
            protocol_factory, (program, *args), False, stdin, stdout, stderr, options
        )

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _P],
        cmd: str | bytes,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **options: Any,
    ) -> tuple[ProcessTransport, _P]:
        """Run `cmd` by the shell; the rest is as in `subprocess_exec`."""
        if not isinstance(cmd, (bytes, str)):
            raise ValueError("cmd must be a string")
        _refuse_text(universal_newlines, bufsize, encoding, errors, text)
        if not shell:
            raise ValueError("shell must be True")
        return await self._spawn(protocol_factory, cmd, True, stdin, stdout, stderr, options)

    async def _spawn(
        self,
        protocol_factory: Callable[[], _P],
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        options: dict[str, Any],
    ) -> tuple[ProcessTransport, _P]:
        protocol = protocol_factory()
        # No arguments: there may be passwords among them, and there may be many.
        what = f"run shell command {args!r}" if shell else f"execute program {args[0]!r}"
        if self.get_debug():
            logger.debug(_with_stdio(what, stdin, stdout, stderr))
        waiter = self.create_future()
        transport = ProcessTransport(
            cast(asyncio.AbstractEventLoop, self),
            *(protocol, args, shell, stdin, stdout, stderr, 0),
            waiter=waiter,
            **options,
        )
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport.close()
            if not transport._connecting:  # that task was cancelled before it ran, too
                transport._close_unconnected(transport._proc)
            if isinstance(error, GeneratorExit):  # nobody runs this coroutine any more
                raise
            await asyncio.shield(transport._wait())
            raise
        if self.get_debug():
            logger.info("%s: %r", what, transport)
        return transport, protocol

    def _leave_processes(self) -> None:
        """The loop is closing: take what statuses there are."""
        processes, self._processes = self._processes, None
        for transport in processes or ():
            transport._loop_closes()


def _refuse_text(
    universal_newlines: bool, bufsize: int, encoding: Any, errors: Any, text: Any
) -> None:
    """Raise asyncio's ValueError for what Popen would take and a transport cannot give."""
    if universal_newlines:
        raise ValueError("universal_newlines must be False")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False")
    if encoding is not None:
        raise ValueError("encoding must be None")
    if errors is not None:
        raise ValueError("errors must be None")


def _with_stdio(what: str, stdin: Any, stdout: Any, stderr: Any) -> str:
    """Debug mode's line about a process that is to be started."""
    names = {subprocess.PIPE: "<pipe>", subprocess.STDOUT: "<stdout>"}
    streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    if stdout is not None and stderr == subprocess.STDOUT:
        streams = {"stdin": stdin, "stdout=stderr": stdout}
    given = [
        f"{name}={names[value] if isinstance(value, int) and value in names else repr(value)}"
        for name, value in streams.items()
        if value is not None
    ]
    return " ".join([what, *given])
