# cython: language_level=3, auto_pickle=False, freethreading_compatible=True
# cython: nonecheck=True, cdivision=True
"""The native part of loopx: everything that runs per callback, per packet or per operation.

The include list below is the table of contents, lowest layer first; a file names only what
stands above it. What must go up goes through a completion's function pointer, a method that a
subclass overrides, or a Python callable.

A None in the place of a native object is an AttributeError, as every look at one is checked
(nonecheck). Code that runs most is exempt: there it is `self`, or was looked at before.
"""

cimport cython

include "imports.pxi"                     # what the files below take from C, CPython and asyncio

cdef extern from *:
    """
    #ifndef LOOPX_FOLLOWS_PROFILE
    #define LOOPX_FOLLOWS_PROFILE 0
    #endif
    /* Not folded away: the compiler checks that a profile is of functions of the same shape. */
    static __attribute__((noinline)) int loopx_follows_profile(void) {
        return LOOPX_FOLLOWS_PROFILE;
    }
    """
    bint loopx_follows_profile()

FOLLOWS_PROFILE = loopx_follows_profile()

include "sched/native_methods.pxi"        # their look at self
include "sched/contexts.pxi"             # the context that a callback will run in
include "sched/handles.pxi"               # one scheduled callback
include "sched/threadsafe_handle.pxi"    # one that other threads may cancel
include "sched/calls.pxi"                 # callbacks that nobody has a handle of
include "sched/scheduler.pxi"             # call_soon, timers, callbacks from other threads
include "sched/call_soon.pxi"             # call_soon and its kin, with little to parse
include "sched/all_tasks.pxi"             # what asyncio.all_tasks() reads
include "sched/for_tests.pxi"             # the bare structures, for the state machines in tests

include "io/operation.pxi"                # what the kernel is asked to do; its life
include "io/engine.pxi"                   # what a loop asks of its engine
include "io/provided_buffers.pxi"         # receive buffers that the kernel picks
include "io/spare_bytes.pxi"              # received bytes that nobody kept
include "io/reading.pxi"                  # recv and read into new bytes
include "io/bulk_space.pxi"               # the bytes that bulk is received into
include "io/collecting_engine.pxi"        # completions collected, then dispatched
include "io/entries.pxi"                  # the submission entry of each kind of operation
include "io/entering_engine.pxi"          # io_uring_enter: spinning, sleeping
include "io/polling_engine.pxi"           # polls of sockets whose peer is done sending
include "io/ring_engine.pxi"              # the engine on io_uring
include "io/addresses.pxi"                # socket addresses as asyncio shows them
include "io/base_loop.pxi"                # the loop as the files below see it: scheduler, engine
include "io/lookups.pxi"                  # getaddrinfo(3) in threads without the GIL
include "io/readiness.pxi"                # add_reader, add_writer, waiting for a descriptor
include "io/sockets.pxi"                  # sock_recv, sock_sendall, half of sock_recv_into
include "io/wakeup.pxi"                   # the self-pipe that signals write to

include "transports/stream_feed.pxi"      # what asyncio.StreamReader is fed
include "transports/stream_reads.pxi"     # what StreamReader's reads return
include "transports/stream_reader.pxi"    # which readers of asyncio's are native, and feeding them
include "transports/tls.pxi"              # TLS: asyncio's, compiled where it is hot
include "transports/gathering.pxi"        # several pieces sent by one call
include "transports/transport.pxi"        # what all transports share: protocol, state, closing
include "transports/socket.pxi"           # what those on sockets add: addresses
include "transports/bulk.pxi"             # when a stream's data is bulk, and who tells of it
include "transports/receiving.pxi"        # the receiving half of a stream
include "transports/stream.pxi"           # TCP and Unix streams: sending and ending
include "transports/pipes.pxi"            # pipes, FIFOs and terminals
include "transports/datagram.pxi"         # UDP, Unix datagrams, and other families
include "transports/acceptor.pxi"         # listening sockets

include "loop.pxi"                        # the turn, running, stopping, closing

for native in list(globals().values()):
    if isinstance(native, type) and native.__module__ == __name__:
        check_self_in_methods(native)
del native
