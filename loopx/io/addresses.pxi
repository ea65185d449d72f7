# Socket addresses as Python shows them: a tuple for IP, a path for Unix.
# Kept as the kernel gave them until somebody asks: most connections are never asked.

cdef union SocketAddress:
    sockaddr any
    sockaddr_in v4
    sockaddr_in6 v6

cdef union FullSocketAddress:
    sockaddr any
    sockaddr_in v4
    sockaddr_in6 v6
    sockaddr_un local
    sockaddr_storage storage


cdef object address_to_python(const void *address, socklen_t length):
    """As socket.getpeername() returns it; None for a family that is not known here."""
    cdef const FullSocketAddress *full = <const FullSocketAddress *>address
    cdef char text[INET6_ADDRSTRLEN]
    if length < sizeof(unsigned short):
        return None
    if full.any.sa_family == AF_INET:
        inet_ntop(AF_INET, &full.v4.sin_addr, text, sizeof(text))
        return (text.decode("ascii"), ntohs(full.v4.sin_port))
    if full.any.sa_family == AF_INET6:
        inet_ntop(AF_INET6, &full.v6.sin6_addr, text, sizeof(text))
        return (text.decode("ascii"), ntohs(full.v6.sin6_port), ntohl(full.v6.sin6_flowinfo),
                full.v6.sin6_scope_id)
    if full.any.sa_family == AF_UNIX:
        return unix_path(full, length - sizeof(unsigned short))
    return None


cdef socklen_t address_from_python(int family, address, FullSocketAddress *target) except? 0:
    """An IP address in numbers, as socket.sendto() takes it, for the kernel: its length in bytes.

    0 for what is to be left to the socket object: names, other families, and mistakes.
    """
    cdef Py_ssize_t count
    cdef void *host
    if type(address) is not tuple:
        return 0
    count = len(<tuple>address)
    if not (count == 2 if family == AF_INET else family == AF_INET6 and 2 <= count <= 4):
        return 0
    if type(address[0]) is not str or not (<str>address[0]).isascii() or "\0" in address[0]:
        return 0
    for number in (<tuple>address)[1:]:
        if type(number) is not int:
            return 0
    if not 0 <= address[1] <= 65535:
        return 0
    memset(target, 0, sizeof(target[0]))
    target.any.sa_family = family
    if family == AF_INET:
        host = &target.v4.sin_addr
        target.v4.sin_port = htons(address[1])
    else:
        host = &target.v6.sin6_addr
        target.v6.sin6_port = htons(address[1])
        if count > 2:
            if not 0 <= address[2] <= 0xfffff:
                return 0
            target.v6.sin6_flowinfo = htonl(address[2])
        if count > 3:
            if not 0 <= address[3] <= 0xffffffff:
                return 0
            target.v6.sin6_scope_id = address[3]
    if inet_pton(family, PyUnicode_AsUTF8(address[0]), host) != 1:
        return 0
    return sizeof(sockaddr_in) if family == AF_INET else sizeof(sockaddr_in6)


cdef object unix_path(const FullSocketAddress *address, Py_ssize_t path_bytes):
    """'' when unnamed, bytes when abstract, else the path."""
    cdef const char *path = <const char *>address.local.sun_path
    cdef Py_ssize_t end = 0
    if path_bytes <= 0:
        return ""
    if path[0] == 0:
        return PyBytes_FromStringAndSize(path, path_bytes)
    while end < path_bytes and path[end]:
        end += 1
    return os.fsdecode(PyBytes_FromStringAndSize(path, end))


cdef object local_address(int fd):
    """getsockname(2) as Python shows it, or None."""
    cdef FullSocketAddress address
    cdef socklen_t length = sizeof(address)
    if getsockname(fd, &address.any, &length) < 0:
        return None
    return address_to_python(&address, length)


cdef object remote_address(int fd):
    """getpeername(2) as Python shows it, or None."""
    cdef FullSocketAddress address
    cdef socklen_t length = sizeof(address)
    if getpeername(fd, &address.any, &length) < 0:
        return None
    return address_to_python(&address, length)


cdef int address_family(int fd) noexcept:
    cdef FullSocketAddress address
    cdef socklen_t length = sizeof(address)
    if getsockname(fd, &address.any, &length) < 0:
        return 0
    return address.any.sa_family
