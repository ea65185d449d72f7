# sock_recv, sock_recv_into and sock_sendall once the socket said EAGAIN: wait through the ring,
# then make the call. The kernel is asked for readiness and not for data, because data received
# for a future that was cancelled meanwhile would be lost.

cdef object receive_later(BaseLoop loop, sock, int fd, Py_ssize_t receive_bytes, buffer):
    """A future of the bytes received, or, into `buffer`, of how many."""
    cdef DescriptorWait wait = DescriptorWait.__new__(DescriptorWait)
    wait.keep = sock
    wait.buffer = buffer
    wait.receive_bytes = receive_bytes
    return wait.start(loop, fd, POLLIN, on_receive_ready)


cdef object send_later(BaseLoop loop, sock, int fd, data):
    """A future of how many bytes were sent: at least 1 of a non-empty `data`."""
    cdef DescriptorWait wait = DescriptorWait.__new__(DescriptorWait)
    wait.keep = sock
    wait.buffer = data
    wait.sending = True
    return wait.start(loop, fd, POLLOUT, on_send_ready)


cdef int on_receive_ready(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWait wait = <DescriptorWait>operation.owner
    if wait.future.done():
        return 0
    wait.loop.engine.system_calls += 1
    try:
        if wait.buffer is not None:
            value = wait.keep.recv_into(wait.buffer)
        else:
            value = wait.keep.recv(wait.receive_bytes)
    except (BlockingIOError, InterruptedError):
        return wait.loop.engine.submit(operation)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        wait.future.set_exception(error)
    else:
        wait.future.set_result(value)
    return 0


cdef int on_send_ready(Operation *operation, int result, unsigned int flags) except -1:
    cdef DescriptorWait wait = <DescriptorWait>operation.owner
    if wait.future.done():
        return 0
    wait.loop.engine.system_calls += 1
    try:
        value = wait.keep.send(wait.buffer)
    except (BlockingIOError, InterruptedError):
        return wait.loop.engine.submit(operation)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        wait.future.set_exception(error)
    else:
        wait.future.set_result(value)
    return 0
