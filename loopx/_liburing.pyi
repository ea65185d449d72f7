"""Types of what cffi makes of loopx/_liburing_build.py: liburing's control plane for loopx/ring.

Structs and pointers are of type Any, as cffi resolves their fields at run time. A function that
fails returns a negative errno unless said otherwise. It must list exactly what the builder
declares: tests/test_stubs.py compares `lib` with this.
"""

from typing import Any, TypeAlias, final, type_check_only

# A pointer, a struct or an array of C.
_CData: TypeAlias = Any

@final
@type_check_only
class _Lib:
    """The functions and constants; nothing here takes keyword arguments."""

    IORING_SETUP_CLAMP: int
    IORING_SETUP_COOP_TASKRUN: int
    IORING_SETUP_CQSIZE: int
    IORING_SETUP_DEFER_TASKRUN: int
    IORING_SETUP_SINGLE_ISSUER: int
    IORING_SETUP_TASKRUN_FLAG: int
    LOOPX_BUF_BYTES: int
    """Of one struct io_uring_buf."""
    LOOPX_LIBURING_VERSION: _CData
    """A char *: the liburing that is compiled in."""

    def io_uring_queue_init_params(self, entries: int, ring: _CData, params: _CData, /) -> int: ...
    def io_uring_queue_exit(self, ring: _CData, /) -> None: ...
    def io_uring_ring_dontfork(self, ring: _CData, /) -> int: ...
    def io_uring_register_buf_ring(self, ring: _CData, reg: _CData, flags: int, /) -> int: ...
    def io_uring_unregister_buf_ring(self, ring: _CData, group: int, /) -> int: ...
    def io_uring_register_iowq_max_workers(self, ring: _CData, values: _CData, /) -> int: ...
    def io_uring_get_probe_ring(self, ring: _CData, /) -> _CData:
        """NULL when there is no memory for it."""
    def io_uring_free_probe(self, probe: _CData, /) -> None: ...
    def io_uring_opcode_supported(self, probe: _CData, opcode: int, /) -> int: ...
    def loopx_setup(self, entries: int, params: _CData, /) -> int:
        """A descriptor: io_uring_setup(2) without the mappings."""
    def loopx_register_ring_fd(self, ring_fd: int, /) -> int:
        """The slot of the calling thread that the ring got."""
    def loopx_unregister_ring_fd(self, ring_fd: int, slot: int, /) -> int: ...
    def loopx_map_pages(self, length_bytes: int, /) -> _CData:
        """Pages that a forked child does not inherit; NULL and ffi.errno on failure."""
    def loopx_unmap_pages(self, address: _CData, length_bytes: int, /) -> int: ...

@final
@type_check_only
class _FFI:
    """What loopx uses of cffi's FFI object (cffi's documentation, 'FFI Interface')."""

    NULL: _CData
    errno: int
    def new(self, cdecl: str, init: object = None) -> _CData: ...
    def cast(self, cdecl: str, source: object) -> _CData: ...
    def typeof(self, cdecl: str) -> Any: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]:
        """The names of typedefs, structs, unions."""
    def string(self, cdata: _CData, maxlen: int = -1) -> bytes: ...

ffi: _FFI
lib: _Lib
