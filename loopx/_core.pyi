"""Types of the native part of loopx, in the order of _core.pyx's include list.

Everything here belongs to the thread that runs the loop, but for `call_soon_threadsafe`. What
begins with an underscore is for loopx's own modules. Seconds and bytes; what asyncio documents is
meant as there unless a docstring says otherwise. tests/test_stubs.py compares it with the core.
"""

import asyncio
from asyncio.constants import _SendfileMode
from asyncio.sslproto import SSLProtocol, _SSLProtocolTransport
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context
from socket import socket
from traceback import StackSummary
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, TypeVarTuple, final, type_check_only

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer
from typing_extensions import Self, disjoint_base

from loopx._transport_base import TransportBase

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
FOLLOWS_PROFILE: bool  # whether the compiler knew a profile, as in wheels (setup.py)
_Callback: TypeAlias = Callable[..., object]
_CallbackOf: TypeAlias = Callable[[*_Ts], object]
_Coro: TypeAlias = Coroutine[Any, Any, _T] | Generator[Any, None, _T]
_Future: TypeAlias = asyncio.Future[_T]
_Waiter: TypeAlias = asyncio.Future[None] | None
_Extra: TypeAlias = dict[str, Any] | None
_Protocol: TypeAlias = asyncio.BaseProtocol
_Context: TypeAlias = Context | None
# Called as factory(loop, coroutine, **options): name, context, eager_start.
_TaskFactory: TypeAlias = Callable[..., asyncio.Future[Any]]
_Data: TypeAlias = bytes | bytearray | memoryview[Any]

@type_check_only
class _TransportOwner(Protocol):
    """What a transport tells its server: that it came to be, that its connection is lost."""

    def _attach(self, transport: StreamTransport, /) -> None: ...
    def _detach(self, transport: StreamTransport, /) -> None: ...

_Owner: TypeAlias = _TransportOwner | None

# ---- of native use only ------------------------------------------------------------------

@disjoint_base
class Engine:
    """What a loop asks of its engine: submit operations, wait, dispatch completions."""

@disjoint_base
class CollectingEngine(Engine):
    """What engines share that collect completions first and dispatch them afterwards."""

@disjoint_base
class EnteringEngine(CollectingEngine):
    """A ring that is submitted to and waited for."""

@disjoint_base
class PollingEngine(EnteringEngine):
    """Polls that wait although the peer is done sending."""

@final
class RingEngine(PollingEngine):
    """The engine on io_uring."""

@final
class SignalPipe:
    """The pair of sockets behind _signal_wakeup_fd()."""

@final
class DescriptorWatch:
    """One direction of one descriptor in add_reader or add_writer."""

@final
class DescriptorWait:
    """A future that waits for a descriptor once; end() ends the poll when it was cancelled."""
    @property
    def future(self) -> _Future[Any]: ...
    def end(self, future: _Future[Any] | None = None) -> None: ...

def abandon_loops_after_fork() -> None:
    """In a forked child: no loop of the parent may touch the parent's rings."""

def check_callback(callback: object, method: str) -> None:
    """TypeError for a coroutine (function), or for what is not callable (asyncio's wording)."""

def describe_handle(handle: Handle) -> list[str]:
    """The parts of a handle's repr, as asyncio's."""

def format_handle(handle: Handle) -> str:
    """A handle in debug mode's report: a task's step is shown as the task."""

# ---- sched/ ------------------------------------------------------------------------------

@disjoint_base
class Handle:
    """What call_soon returns: asyncio.Handle's interface, but no subclass of it.

    Once cancelled it knows neither callback nor arguments.
    """

    def __init__(
        self, callback: _Callback, args: Iterable[Any], loop: Scheduler, context: _Context = None
    ) -> None:
        """Without `context` the current one is copied. The handle is not scheduled."""
    @property
    def _callback(self) -> _Callback | None: ...
    @property
    def _args(self) -> tuple[Any, ...] | None: ...
    @property
    def _context(self) -> Context: ...
    @property
    def _loop(self) -> Scheduler: ...
    @property
    def _cancelled(self) -> bool: ...
    @property
    def _source_traceback(self) -> StackSummary | None:
        """Where it was made, if that was in debug mode."""
    def cancel(self) -> None:
        """Make sure that the callback is not called any more. Idempotent."""
    def cancelled(self) -> bool:
        """True after cancel()."""
    def get_context(self) -> Context:
        """The context that the callback runs in. On Python 3.11 asyncio has no such method."""
    def _run(self) -> None:
        """Call the callback in its context, unless cancelled.

        The loop's exception handler gets what it raises, but SystemExit and KeyboardInterrupt.
        """

@disjoint_base
class ThreadSafeHandle(Handle):
    """What call_soon_threadsafe returns without a GIL, and from 3.14 on: any thread may cancel it.

    From Python 3.14 on `cancel` and `cancelled` wait on other threads while the callback runs.
    """

    def cancelled(self) -> bool:
        """True after cancel()."""

@disjoint_base
class TimerHandle(Handle):
    """What call_later and call_at return: a Handle, ordered by time.

    Hashed by its time; equal where time, callback, arguments and cancellation are, as in asyncio.
    """

    def __init__(
        self,
        when: float,
        callback: _Callback,
        args: Iterable[Any],
        loop: Scheduler,
        context: _Context = None,
    ) -> None: ...
    @property
    def _when(self) -> float: ...
    @property
    def _scheduled(self) -> bool:
        """Whether it stands among the loop's timers."""
    def when(self) -> float:
        """The time at which the callback is due: seconds of loop.time()."""
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: TimerHandle, /) -> bool: ...
    def __le__(self, other: TimerHandle, /) -> bool: ...
    def __gt__(self, other: TimerHandle, /) -> bool: ...
    def __ge__(self, other: TimerHandle, /) -> bool: ...

@disjoint_base
class Scheduler:
    """call_soon, call_later, call_at, call_soon_threadsafe and time, as in asyncio.

    The call_* methods raise RuntimeError when the loop is closed and, in debug mode, also on a
    wrong thread (call_soon_threadsafe excepted); TypeError then for what cannot be called.
    A callback runs in `context`, or else in a copy of the context of this call.
    """

    slow_callback_duration: float
    """What debug mode reports as slow, in seconds; 0.1 unless set."""

    @property
    def forked(self) -> bool:
        """Whether this is a forked child's copy of its parent's loop: it counts as closed."""
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Called for what nobody caught. Not defined here: a subclass must."""
    def call_soon(
        self, callback: _CallbackOf[*_Ts], *args: *_Ts, context: _Context = None
    ) -> Handle:
        """Call `callback(*args)` in the next turn."""
    def call_soon_threadsafe(
        self, callback: _CallbackOf[*_Ts], *args: *_Ts, context: _Context = None
    ) -> Handle:
        """call_soon from any thread: wakes the loop when it waits."""
    def call_later(
        self, delay: float, callback: _CallbackOf[*_Ts], *args: *_Ts, context: _Context = None
    ) -> TimerHandle:
        """Call `callback(*args)` after `delay` seconds. TypeError when that is no number."""
    def call_at(
        self, when: float, callback: _CallbackOf[*_Ts], *args: *_Ts, context: _Context = None
    ) -> TimerHandle:
        """Call `callback(*args)` at `when`, in seconds of time(). TypeError as in call_later."""
    def time(self) -> float:
        """Seconds of CLOCK_MONOTONIC (clock_gettime(2)): the same clock as time.monotonic()."""

@disjoint_base
class ReadyQueueForTests:
    """sched/ready_queue.pxd with Python objects in it, for the state machines in tests/sched."""

    def __new__(cls, capacity: int = 4) -> Self:
        """ValueError unless the capacity, which grows, is a power of two."""
    def __len__(self) -> int: ...
    def push(self, item: object) -> None: ...
    def push_together(self, items: list[object]) -> None: ...
    def pop(self) -> Any:
        """The oldest item; IndexError when there is none."""

@disjoint_base
class SpinForTests:
    def __new__(cls, limit_ns: int) -> Self: ...
    def due(self, lonely: bool = True) -> bool: ...
    def ended(self, spun_ns: int, found: bool) -> None: ...
    def slept(self, ns: int) -> None: ...

@disjoint_base
class StreamingForTests:
    def received(self, sender: int, length: int) -> None: ...
    def goes_on(self, writes: int, dispatched: int, now_ns: int) -> bool: ...
    def peers_stream(self) -> bool: ...

@disjoint_base
class TimersHeapForTests:
    """sched/timers_heap.pxd with unique integer keys, for the state machines in tests/sched."""

    def __len__(self) -> int: ...
    def push(self, when: float, key: int) -> None:
        """ValueError for a key that is in use."""
    def cancel(self, key: int) -> None:
        """KeyError for a key that is not in use."""
    def has_two_before(self, when: float) -> bool: ...
    def peek(self) -> float | None:
        """The earliest time, or None."""
    def pop_due(self, now: float) -> list[int]:
        """Remove the keys whose time is not after `now`; the earliest comes first."""

# ---- io/ ---------------------------------------------------------------------------------

@disjoint_base
class BaseLoop(Scheduler):
    """A scheduler with an engine. Of use only as LoopCore, which makes the engine."""

    spin_us: float
    """How long to look for I/O before sleeping: microseconds, 0 (never) to 1,000."""
    def _on_signal_bytes(self, data: bytes) -> None:
        """What was written to _signal_wakeup_fd(): a byte each. Not defined here: subclasses do."""

@final
class Lookup:
    """What LookupQueue.add_query and add_call return: one name lookup."""

    @property
    def future(self) -> _Future[Any]: ...
    def cancel(self) -> None:
        """Do not begin with it, if no thread has. The future is the caller's to cancel."""
    def _ended(self) -> None: ...

@final
class LookupQueue:
    """Lookups on their way to the threads that do them, and back; `unfinished` has those."""

    def add_query(
        self,
        loop: BaseLoop,
        unfinished: set[Lookup],
        host: bytes | None,
        service: bytes | None,
        hints: tuple[int, ...],
    ) -> Lookup:
        """Have getaddrinfo(3) called; `hints`: family, type, protocol, flags. No null bytes."""
    def add_call(self, loop: BaseLoop, unfinished: set[Lookup], func: _Callback) -> Lookup:
        """Have func() called."""
    def end(self) -> None:
        """No more will be added: work() returns when all is done. From any thread."""
    def leave_loop(self, unfinished: set[Lookup]) -> None:
        """The loop is about to be closed: tell it of no more ends, and begin with nothing more."""
    def work(self) -> None:
        """Do what is added, on this thread, until end()."""

@disjoint_base
class SendingTransport(TransportBase):
    """A transport whose writes leave with the turn's submission. Abstract."""

# ---- transports/ -------------------------------------------------------------------------

@final
class UnreadPiece:
    """What a NativeStreamReader was fed and is not in its `_buffer` yet."""

@final
class StreamRead(Coroutine[_Future[None], None, bytes]):
    """One read of a NativeStreamReader: a coroutine to whoever awaits it, or makes a task of it."""

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    def __await__(self) -> Generator[Any, None, bytes]: ...
    def __next__(self) -> _Future[None]: ...
    def send(self, value: None) -> _Future[None]:
        """Go on; returns the future to wait for. StopIteration has what was read."""
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> _Future[None]:
        """Raise where it waits, which ends it."""
    def close(self) -> None:
        """End it, whether it waits or has not begun."""

class NativeStreamReader(asyncio.StreamReader):
    """asyncio.StreamReader whose usual reads take no coroutine. A connection's reader becomes one,
    unless LOOPX_STREAMS=asyncio, in debug mode, or where a method of asyncio's was replaced."""

@disjoint_base
class TLSState:
    """What SSLProtocol asks for with each packet, in a struct instead of a dictionary."""

class TLSProtocol(TLSState, SSLProtocol):
    """asyncio.sslproto.SSLProtocol, faster once the handshake is done."""

class SSLTransport(_SSLProtocolTransport):
    """What TLSProtocol gives its protocol: asyncio's transport over TLS, with a faster write()."""

@disjoint_base
class DescriptorTransport(SendingTransport):
    """Protocol, flow control and closing of a transport.

    What changes the state raises RuntimeError in a forked child and, in debug mode, on a wrong
    thread. Collected without being closed it warns (ResourceWarning) and closes its descriptor.
    """

    def get_protocol(self) -> _Protocol:
        """The protocol in use; None, as in asyncio, once connection_lost() has been called."""
    def set_protocol(self, protocol: _Protocol) -> None:
        """Use another protocol from now on."""
    def is_closing(self) -> bool:
        """True from close() or abort() on."""
    def get_write_buffer_size(self) -> int:
        """Bytes written that the kernel has not taken yet."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high) water marks in bytes; (16384, 65536) unless set."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks, in bytes; ValueError unless high >= low >= 0.

        Without `high` it is 4 * `low` (65536 without either), without `low` a quarter of `high`.
        The protocol's pause_writing() is called at once when more than `high` is unsent.
        """
    def _force_close(self, error: BaseException | None) -> None:
        """Close at once, dropping what is unsent; connection_lost(error) comes in a next turn."""

@disjoint_base
class SocketTransport(DescriptorTransport):
    """What transports on connected sockets add."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """'socket' (an asyncio.trsock.TransportSocket), 'sockname' or 'peername'.

        The addresses are as socket.getsockname() and socket.getpeername() show them, and stay
        known after closing; None when there is none. `default` for any other name.
        """
    def is_reading(self) -> bool:
        """False after pause_reading(), and from close() on."""
    def pause_reading(self) -> None:
        """Hand out no data until resume_reading(). Idempotent."""

@disjoint_base
class BulkTransport(SocketTransport):
    """A connected stream socket that knows whether bulk comes."""

@disjoint_base
class ReceivingTransport(BulkTransport):
    """The receiving half of a stream's transport."""

    def resume_reading(self) -> None:
        """Undo pause_reading(). Idempotent."""

@disjoint_base
class StreamTransport(ReceivingTransport, asyncio.Transport):
    """A connected TCP or Unix stream socket: what create_connection and servers make.

    Made by LoopCore._make_stream_transport and Acceptor only; calling the class makes a
    transport that is connected to nothing.
    """

    _start_tls_compatible: ClassVar[bool]
    _sendfile_compatible: ClassVar[_SendfileMode]
    _sendfile_busy: bool
    """While true, write and writelines raise RuntimeError: a file is on its way."""

    @property
    def _protocol_paused(self) -> bool:
        """Whether pause_writing() was called last."""
    def write(self, data: _Data) -> None:
        """Send `data`; returns at once. A mutable buffer is copied, so it may change later.

        TypeError for what is no buffer, RuntimeError after write_eof(); quiet when it is lost.
        """
    def writelines(self, list_of_data: Iterable[_Data]) -> None:
        """Send several bytes-like objects, in order. Raises what write() raises."""
    def can_write_eof(self) -> bool:
        """True: a stream socket can be half closed."""
    def write_eof(self) -> None:
        """Close the sending half (shutdown(2)) after what was written before. Idempotent.

        OSError when nothing is unsent and the system call fails.
        """
    def close(self) -> None:
        """Stop receiving, send what is unsent, then close. Idempotent."""
    def abort(self) -> None:
        """Close at once. What the socket takes without waiting is still sent."""

@disjoint_base
class PipeTransport(DescriptorTransport):
    """What both ends of a pipe share. get_extra_info('pipe') is the file object."""

@disjoint_base
class ReadPipeTransport(PipeTransport, asyncio.ReadTransport):
    """What connect_read_pipe gives. Made by LoopCore._make_read_pipe_transport only."""

    def is_reading(self) -> bool:
        """False after pause_reading(), and from close() or the end of the file on."""
    def pause_reading(self) -> None:
        """Read no more until resume_reading(): the pipe fills and its writer waits. Idempotent."""
    def resume_reading(self) -> None:
        """Undo pause_reading(). Idempotent."""
    def _end_of_file(self) -> None:
        """Tell the protocol; connection_lost() follows whatever it answers."""
    def close(self) -> None:
        """Read no more and close. Idempotent."""

class WritePipeTransport(PipeTransport, asyncio.Transport):
    """What connect_write_pipe gives. Made by LoopCore._make_write_pipe_transport only."""

    def write(self, data: _Data) -> None:
        """Write `data`; returns at once. A mutable buffer is copied, so it may change later.

        TypeError for what is no buffer; quiet once it is closing.
        """
    def can_write_eof(self) -> bool:
        """True: closing the pipe is the end of the file for its reader."""
    def write_eof(self) -> None:
        """Close after what was written before: the same as close(). Idempotent."""
    def close(self) -> None:
        """Write what is unsent, then close. Idempotent."""
    def abort(self) -> None:
        """Close at once, dropping what the pipe had no room for."""
@disjoint_base
class DatagramTransport(SocketTransport, asyncio.Transport, asyncio.DatagramTransport):
    """An endpoint for datagrams: what create_datagram_endpoint makes.

    Made by LoopCore._make_datagram_transport only. A queued datagram counts for 8 bytes more than
    it holds in get_write_buffer_size() (since Python 3.13, as asyncio's).
    """

    def sendto(self, data: _Data, addr: Any = None) -> None:
        """Send `data` as one datagram, at once if the socket has room; a mutable buffer is copied.

        To `addr`, which must be None or the same if the endpoint was made with an address to send
        to (else ValueError), and is not looked at when the socket is connected. Empty data is a
        datagram, too, since Python 3.13. TypeError for what is no buffer; an OSError goes to
        error_received(), whose exceptions come from here; other errors close the endpoint.
        """
    def resume_reading(self) -> None:
        """Undo pause_reading(). Idempotent."""
    def close(self) -> None:
        """Stop receiving, send what waits for room, then close. Idempotent."""
    def abort(self) -> None:
        """Close at once, dropping what waits for room."""

@final
class Acceptor:
    """Makes a protocol and a transport for each connection to a listening socket.

    `sock` stays the caller's. `server` (or None) is told of every transport. At most `backlog`
    connections are accepted in a turn. Protocols run in copies of the context that is current
    here. Short of descriptors or memory it tells the loop's exception handler and waits a second.
    """

    def __init__(
        self,
        loop: LoopCore,
        sock: socket,
        protocol_factory: Callable[[], _Protocol],
        server: _Owner,
        backlog: int,
    ) -> None: ...
    def start(self) -> None:
        """Accept from now on. Idempotent. RuntimeError when the loop is closed."""
    def stop(self) -> None:
        """Accept no more. Idempotent; the socket stays open."""

# ---- io/sockets.pxi ----------------------------------------------------------------------
class SocketCalls(BaseLoop):
    """The sock_* methods that run per packet; see SocketsMixin, also for what they raise."""

    def _recv_into_now(self, sock: socket, buffer: WriteableBuffer) -> int | None: ...
    def _wait_to_receive(self, sock: socket) -> DescriptorWait: ...
    async def sock_recv(self, sock: socket, n: int) -> bytes:
        """Receive at most `n` bytes; b"" means that the peer has shut down (recv(2))."""
    async def sock_sendall(self, sock: socket, data: ReadableBuffer) -> None:
        """Send all of `data`; after a failure there is no telling how much of it was sent."""

# ---- loop.pxi ----------------------------------------------------------------------------

@disjoint_base
class LoopCore(SocketCalls):
    """What is native of loopx.Loop. Subclasses add the methods that run per connection.

    Raises EngineUnavailable, with cause and remedy, where io_uring cannot be had.
    """

    def _run(self) -> None:
        """Take turns on this thread until stop(); what run_forever checks is not checked."""
    def stop(self) -> None:
        """Return from run_forever at the end of this turn, or of the first one."""
    def is_running(self) -> bool:
        """Whether a thread is in run_forever."""
    def is_closed(self) -> bool:
        """Whether close() was called."""
    def close(self) -> None:
        """Free everything; RuntimeError while running. Idempotent."""
    def _check_closed(self) -> None:
        """RuntimeError when the loop is closed."""

    # What the core calls, for subclasses to override; these do nothing.
    def _on_close(self) -> None:
        """Called once by close(), while everything still works."""
    def _wakeup_begin(self) -> None:
        """Called before the first wait of a run: signals must end it."""
    def _wakeup_end(self) -> None:
        """Called after a run in which _wakeup_begin() was called."""

    def get_debug(self) -> bool:
        """Whether debug mode is on: at first by -X dev or PYTHONASYNCIODEBUG."""
    def set_debug(self, enabled: bool) -> None:
        """Turn debug mode on or off: slow callbacks, wrong threads, where handles were made."""
    @property
    def _current_handle(self) -> Handle | None:
        """The handle that runs now; None outside of debug mode."""
    def create_future(self) -> asyncio.Future[Any]:
        """An asyncio.Future of this loop."""
    def create_task(
        self, coro: _Coro[_T], *, name: str | None = None, context: _Context = None, **options: Any
    ) -> asyncio.Task[_T]:
        """Schedule a coroutine as an asyncio.Task, or as what the task factory makes.

        `options` go to either: `eager_start`, where Python has it. RuntimeError when closed.
        """
    def set_task_factory(self, factory: _TaskFactory | None) -> None:
        """`factory(loop, coro, **options)` makes tasks from now on; None: asyncio.Task.

        A name is among the options from Python 3.13.3 on; before, task.set_name is called.
        TypeError for what is neither callable nor None.
        """
    def get_task_factory(self) -> _TaskFactory | None:
        """The task factory, or None."""
    def add_reader(self, fd: FileDescriptorLike, callback: _CallbackOf[*_Ts], *args: *_Ts) -> None:
        """Call `callback(*args)` whenever `fd` (a descriptor, or has fileno()) can be read.

        It replaces an earlier reader. ValueError for what is no descriptor, OSError for one that
        is not open, PermissionError for what epoll_ctl(2) refuses (most regular files, folders,
        /dev/null), RuntimeError when a transport uses it or the loop is closed.
        """
    def add_writer(self, fd: FileDescriptorLike, callback: _CallbackOf[*_Ts], *args: *_Ts) -> None:
        """Call `callback(*args)` whenever `fd` can be written. Raises what add_reader raises."""
    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """Undo add_reader; True when there was something to undo.

        ValueError for what is no descriptor, RuntimeError when a transport uses it.
        """
    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """Undo add_writer; True when there was something to undo. Raises as remove_reader."""
    def _check_not_owned(self, fd: int) -> None:
        """RuntimeError when a transport uses the descriptor."""
    def _make_stream_transport(
        self, sock: socket, protocol: _Protocol, waiter: _Waiter = None, server: _Owner = None
    ) -> StreamTransport:
        """Take over a connected, non-blocking stream socket; TCP_NODELAY is set on TCP.

        connection_made() is called in the next turn, then receiving starts and `waiter` is
        completed. RuntimeError when the loop is closed; the socket is the caller's then.
        """
    def _make_read_pipe_transport(
        self, pipe: Any, protocol: _Protocol, waiter: _Waiter = None, extra: _Extra = None
    ) -> ReadPipeTransport:
        """Take over a file object of a pipe, FIFO, socket or device; it becomes non-blocking.

        connection_made() is called in the next turn, then reading starts and `waiter` is
        completed. ValueError for any other file, RuntimeError when the loop is closed; the file
        is the caller's then. `extra` is what get_extra_info() knows besides 'pipe'.
        """
    def _make_write_pipe_transport(
        self, pipe: Any, protocol: _Protocol, waiter: _Waiter = None, extra: _Extra = None
    ) -> WritePipeTransport:
        """As _make_read_pipe_transport."""
    def _make_datagram_transport(
        self, sock: socket, protocol: _Protocol, address: Any = None, waiter: _Waiter = None
    ) -> DatagramTransport:
        """As _make_stream_transport, of datagrams; `address`: where all is sent to."""
    def _wait_readable(self, fd: int) -> _Future[None]:
        """A future of the descriptor becoming readable; OSError when it cannot be polled."""
    def _wait_writable(self, fd: int) -> _Future[None]:
        """A future of the descriptor becoming writable. As _wait_readable."""
    def _signal_wakeup_fd(self) -> int:
        """The writing end of the self-pipe, for signal.set_wakeup_fd; made by the first call."""
    def stats(self) -> dict[str, int]:
        """Counts since the loop was made; operations_in_flight, ready, timers are there now."""
