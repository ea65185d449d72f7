# What the native files take from C, CPython, asyncio and the Python part of loopx.
# Nothing is defined here but one-line wrappers of C calls that Cython has no word for.

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_CheckExact
from cpython.bytearray cimport PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.bytes cimport PyBytes_GET_SIZE, _PyBytes_Resize
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITE, PyBuffer_Release, PyObject_GetBuffer
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from cpython.exc cimport PyErr_CheckSignals, PyErr_Clear, PyErr_SetString
from cpython.float cimport PyFloat_CheckExact
from cpython.long cimport PyLong_CheckExact
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject, PyObject_Call, PyTypeObject
from cpython.object cimport inquiry, traverseproc, visitproc
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.sequence cimport PySequence_DelSlice, PySequence_InPlaceConcat
from cpython.unicode cimport PyUnicode_AsUTF8
from libc.errno cimport (EAGAIN, EBADF, EBUSY, ECONNABORTED, EINTR, EINVAL, EIO, EMFILE,
                         ENFILE, ENOBUFS, ENOMEM, ENOTSOCK, ETIME, errno)
from libc.stdint cimport uint64_t
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from loopx.ring.liburing cimport *
from loopx.ring.ring cimport *
from loopx.sched.clock cimport monotonic_ns, monotonic_seconds
from loopx.sched.inbox cimport *
from loopx.sched.ready_queue cimport *
from loopx.sched.spin cimport *
from loopx.sched.streaming cimport *
from loopx.sched.thread cimport current_thread
from loopx.sched.timers_heap cimport *

cdef extern from "<errno.h>" nogil:
    enum:
        ECANCELED

cdef extern from * nogil:
    """
    #ifdef Py_GIL_DISABLED
    #define LOOPX_NO_GIL 1
    #else
    #define LOOPX_NO_GIL 0
    #endif
    """
    bint NO_GIL "LOOPX_NO_GIL"

cdef extern from "<unistd.h>" nogil:
    int posix_close "close"(int fd)
    ssize_t posix_read "read"(int fd, void *buffer, size_t length)
    ssize_t posix_write "write"(int fd, const void *buffer, size_t length)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from "<sys/sysinfo.h>" nogil:
    int get_nprocs()

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initial, int flags)
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
        POLLOUT
        POLLERR
        POLLHUP
        POLLRDHUP

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    void *MAP_FAILED
    enum:
        MAP_ANONYMOUS
        MAP_NORESERVE
        MAP_PRIVATE
        PROT_READ
        PROT_WRITE

cdef extern from "<fcntl.h>" nogil:
    int F_GETPIPE_SZ
    int F_SETPIPE_SZ
    int fcntl(int fd, int operation, ...)

cdef extern from "<sys/stat.h>" nogil:
    struct stat_result "stat":
        unsigned int st_mode
    int posix_fstat "fstat"(int fd, stat_result *status)
    bint S_ISCHR(unsigned int mode)
    bint S_ISFIFO(unsigned int mode)
    bint S_ISSOCK(unsigned int mode)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t posix_writev "writev"(int fd, const iovec *parts, int count)

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t posix_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    ctypedef unsigned int socklen_t
    enum:
        AF_INET
        AF_INET6
        AF_UNIX
        MSG_DONTWAIT
        MSG_NOSIGNAL
        MSG_WAITALL
        SHUT_WR
        SOCK_CLOEXEC
        SOCK_NONBLOCK
        SOCK_STREAM
        SOL_SOCKET
        SO_PROTOCOL
        SO_TYPE
    ssize_t posix_recv "recv"(int fd, void *buffer, size_t length, int flags)
    ssize_t posix_send "send"(int fd, const void *buffer, size_t length, int flags)
    ssize_t posix_recvfrom "recvfrom"(int fd, void *buffer, size_t length, int flags,
                                      sockaddr *address, socklen_t *address_length)
    ssize_t posix_sendto "sendto"(int fd, const void *buffer, size_t length, int flags,
                                  const sockaddr *address, socklen_t address_length)
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)
    int getsockname(int fd, sockaddr *address, socklen_t *length)
    int getpeername(int fd, sockaddr *address, socklen_t *length)
    int posix_shutdown "shutdown"(int fd, int how)
    int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
    int getsockopt(int fd, int level, int name, void *value, socklen_t *length)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        unsigned int s_addr
    struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    struct in6_addr:
        pass
    struct sockaddr_in6:
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    unsigned short ntohs(unsigned short value)
    unsigned int ntohl(unsigned int value)
    unsigned short htons(unsigned short value)
    unsigned int htonl(unsigned int value)
    enum:
        IPPROTO_TCP
        INET6_ADDRSTRLEN

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        TCP_NODELAY

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *address)
    const char *inet_ntop(int family, const void *address, char *text, socklen_t length)

cdef extern from "<sys/un.h>" nogil:
    struct sockaddr_un:
        char sun_path[108]

cdef extern from *:
    """
    /* Hands a NULL result's exception to Cython. */
    static inline int raise_current(void) { return -1; }

    #ifdef Py_GIL_DISABLED
    #define KNOWS_UNSHARED 0
    #define is_unshared(item) 0
    #else
    #define KNOWS_UNSHARED 1
    #define is_unshared(item) (Py_REFCNT(item) == 1)
    #endif

    /* Around a system call that takes a while but never waits: let go of the GIL where anybody can
     * want it. Doing so for nobody takes a quarter of the instructions of a bulk echo. Who comes
     * meanwhile waits no longer than the call, so a long one lets go of it always.
     * Returns what take_gil_back() wants: NULL where the GIL was kept. */
    #define LOOPX_KEPT_GIL_BYTES_MAX (256 * 1024)

    static inline PyThreadState *release_gil_for_others(size_t length) {
    #ifndef Py_GIL_DISABLED
        PyThreadState *own = PyThreadState_Get();
        if (length <= LOOPX_KEPT_GIL_BYTES_MAX
            && PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(own)) == own
            && PyThreadState_Next(own) == NULL
            && PyInterpreterState_Head() == PyInterpreterState_Main())
            return NULL;
    #endif
        return PyEval_SaveThread();
    }

    static inline void take_gil_back(PyThreadState *released) {
        if (released != NULL)
            PyEval_RestoreThread(released);
    }

    /* Of bytes about to be filled anew: the hash is kept inside them. */
    static inline void forget_hash(PyObject *item) {
        _Py_COMP_DIAG_PUSH
        _Py_COMP_DIAG_IGNORE_DEPR_DECLS
        ((PyBytesObject *)item)->ob_shash = -1;
        _Py_COMP_DIAG_POP
    }

    /* An int's value, or 0 where it is none, or none of that size: that is for others to tell. */
    static inline Py_ssize_t length_of_int(PyObject *number) {
        Py_ssize_t length = PyLong_CheckExact(number) ? PyLong_AsSsize_t(number) : 0;
        if (length == -1)
            PyErr_Clear();
        return length;
    }

    static inline PyObject *call_with_tuple(PyObject *callable, PyObject *args) {
        return PyObject_Vectorcall(callable, &PyTuple_GET_ITEM(args, 0),
                                   (size_t)PyTuple_GET_SIZE(args), NULL);
    }

    static inline PyObject *call_with_one(PyObject *callable, PyObject *argument) {
        PyObject *args[2] = {NULL, argument};
        return PyObject_Vectorcall(callable, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }

    /* callable(positional, name=value, name=value): `names` is a tuple of both names. */
    static inline PyObject *call_with_two_names(PyObject *callable, PyObject *positional,
                                                PyObject *first, PyObject *second,
                                                PyObject *names) {
        PyObject *args[3] = {positional, first, second};
        return PyObject_Vectorcall(callable, args, 1, names);
    }

    /* object.name() and object.name(argument), without a bound method in between. */
    static inline PyObject *call_method_0(PyObject *object, PyObject *name) {
        return PyObject_VectorcallMethod(name, &object, 1, NULL);
    }

    static inline PyObject *call_method_1(PyObject *object, PyObject *name, PyObject *argument) {
        PyObject *args[2] = {object, argument};
        return PyObject_VectorcallMethod(name, args, 2, NULL);
    }

    /* What socket.fileno() calls: 60 instructions instead of 200. */
    static PyCFunction fileno_of_sockets;

    static inline int find_fileno(PyObject *descriptor) {
        PyMethodDef *method;
        if (!Py_IS_TYPE(descriptor, &PyMethodDescr_Type)) return 0;
        method = ((PyMethodDescrObject *)descriptor)->d_method;
        if (method->ml_flags != METH_NOARGS) return 0;
        fileno_of_sockets = method->ml_meth;
        return 1;
    }

    /* The descriptor of an object whose type is socket.socket itself: -1 when closed, -2 with an
       exception set. */
    static inline int fileno_of_socket(PyObject *sock) {
        PyObject *number = fileno_of_sockets(sock, NULL);
        long fd = number == NULL ? -2 : PyLong_AsLong(number);
        Py_XDECREF(number);
        return (int)fd;
    }

    static inline int get_readable_buffer(PyObject *object, Py_buffer *view) {
        return PyObject_GetBuffer(object, view, PyBUF_SIMPLE);
    }

    static inline int get_writable_buffer(PyObject *object, Py_buffer *view) {
        return PyObject_GetBuffer(object, view, PyBUF_WRITABLE);
    }
    """
    int raise_current() except -1
    Py_ssize_t PY_SSIZE_T_MAX
    Py_ssize_t Py_REFCNT(object item) noexcept
    bint KNOWS_UNSHARED
    bint is_unshared(object item) noexcept
    ctypedef struct PyThreadState:
        pass
    PyThreadState *PyEval_SaveThread() noexcept
    PyThreadState *release_gil_for_others(size_t length) noexcept
    void take_gil_back(PyThreadState *released) noexcept
    void forget_hash(PyObject *item) noexcept
    Py_ssize_t length_of_int(object number) noexcept
    void Py_SET_SIZE(object item, Py_ssize_t size) noexcept
    object call_with_two_names(object callable, object positional, object first, object second,
                               object names)
    PyObject *call_method_0(object obj, object name)
    PyObject *call_method_1(object obj, object name, object argument)
    bint find_fileno(object descriptor)
    int fileno_of_socket(object sock) except? -2
    int get_readable_buffer(PyObject *obj, Py_buffer *view)    # -1: with its exception set
    int get_writable_buffer(PyObject *obj, Py_buffer *view)
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t length) except NULL
    int resize_bytes "_PyBytes_Resize"(PyObject **data, Py_ssize_t length) except -1

cdef extern from "transports/transport_base.h":
    ctypedef class loopx._transport_base.TransportBase [object LoopxTransportBase]:
        pass

import asyncio
import gc
import inspect
import os
import select
import socket
import sys
import threading
import warnings
import weakref
from asyncio import BufferedProtocol, InvalidStateError, StreamReader, StreamReaderProtocol
from asyncio import ReadTransport as AsyncioReadTransport
from asyncio import Transport as AsyncioTransport
from asyncio.constants import _SendfileMode as SendfileMode
from asyncio.format_helpers import _format_callback_source
from asyncio.format_helpers import extract_stack
from asyncio.log import logger
from asyncio.sslproto import SSLProtocol, SSLProtocolState
from asyncio.sslproto import _SSLProtocolTransport as SSLProtocolTransport
from asyncio.trsock import TransportSocket
from collections import deque
from contextvars import Context, ContextVar
from inspect import iscoroutinefunction, signature
from asyncio import iscoroutine

try:
    import ssl
except ImportError:                   # an interpreter built without OpenSSL
    ssl = None

from loopx.errors import EngineUnavailable
from loopx.ring.control import RingControl, ensure_available
from loopx.ring.limits import explain

cdef object Future = asyncio.Future
cdef object Task = asyncio.Task
cdef dict tasks_module = asyncio.tasks.__dict__

cdef enum:
    WAIT_SECONDS_MAX = 86400          # as asyncio's selector loop: a wait is at most a day

cdef double CLOCK_RESOLUTION_SECONDS = 1e-9


cdef int raise_os_error(what) except -1:
    """Raise the OSError of C's errno; `what` names the call."""
    raise OSError(errno, f"{what}: {os.strerror(errno)}")
