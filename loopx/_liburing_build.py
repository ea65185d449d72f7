"""Build script of `loopx._liburing`: liburing's control plane for Python (cffi, API mode).

Owns: the C declarations that `loopx.ring.control` and `loopx.ring.features` use, and finding the
static liburing.a that both extensions are linked with.  Used by setup.py only, never imported at
run time; it must not import the package, which is not built yet.  Nothing here is per operation:
the data plane reaches the same `struct io_uring` through Cython.
Constants that liburing 2.3's headers lack are given by number in `loopx/ring/features.py`.
"""

from __future__ import annotations

import os
import shlex
import subprocess

import cffi  # type: ignore[import-untyped, unused-ignore]

ADVICE = "liburing was not found: install liburing-dev (apt-get install liburing-dev)"

# '...;' leaves size and offsets to the compiler, so any liburing from 2.3 on fits.
DECLARATIONS = """
struct io_uring_sq { unsigned ring_entries; ...; };
struct io_uring_cq { unsigned ring_entries; ...; };
struct io_uring {
    struct io_uring_sq sq; struct io_uring_cq cq;
    unsigned flags; int ring_fd; unsigned features; ...;
};
struct io_uring_params {
    uint32_t sq_entries; uint32_t cq_entries; uint32_t flags; uint32_t features; ...;
};
struct io_uring_buf_reg { uint64_t ring_addr; uint32_t ring_entries; uint16_t bgid; ...; };
struct io_uring_rsrc_update { uint32_t offset; uint64_t data; ...; };
struct io_uring_probe_op { uint8_t op; uint16_t flags; ...; };
struct io_uring_probe { uint8_t last_op; uint8_t ops_len; struct io_uring_probe_op ops[]; ...; };

int io_uring_queue_init_params(unsigned, struct io_uring *, struct io_uring_params *);
void io_uring_queue_exit(struct io_uring *);
int io_uring_ring_dontfork(struct io_uring *);
int io_uring_register_buf_ring(struct io_uring *, struct io_uring_buf_reg *, unsigned);
int io_uring_unregister_buf_ring(struct io_uring *, int);
int io_uring_register_iowq_max_workers(struct io_uring *, unsigned int *);
struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *);
void io_uring_free_probe(struct io_uring_probe *);
int io_uring_opcode_supported(const struct io_uring_probe *, int);

#define IORING_SETUP_CQSIZE ...
#define IORING_SETUP_CLAMP ...
#define IORING_SETUP_COOP_TASKRUN ...
#define IORING_SETUP_TASKRUN_FLAG ...
#define IORING_SETUP_SINGLE_ISSUER ...
#define IORING_SETUP_DEFER_TASKRUN ...

static const char *const LOOPX_LIBURING_VERSION;
static const size_t LOOPX_BUF_BYTES;

int loopx_setup(unsigned entries, struct io_uring_params *params);
int loopx_register_ring_fd(int ring_fd);
int loopx_unregister_ring_fd(int ring_fd, unsigned slot);
void *loopx_map_pages(size_t bytes);
int loopx_unmap_pages(void *address, size_t bytes);
"""

# LOOPX_LIBURING_RELEASE is the version of the package whose header and archive are compiled in.
SOURCE = r"""
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <liburing.h>

static const char *const LOOPX_LIBURING_VERSION = LOOPX_LIBURING_RELEASE;
static const size_t LOOPX_BUF_BYTES = sizeof(struct io_uring_buf);

/* io_uring_setup(2) without the mappings, the cheapest 'is it allowed?'. A descriptor or -errno. */
static int loopx_setup(unsigned entries, struct io_uring_params *params)
{
    int fd = (int) syscall(__NR_io_uring_setup, entries, params);
    return fd < 0 ? -errno : fd;
}

/* Give the calling thread a slot for the ring. The slot, or -errno. liburing's own function is not
   used: it notes the slot in struct io_uring, and io_uring_queue_exit on another thread would
   then unregister whatever ring that thread has in the slot of the same number. */
static int loopx_register_ring_fd(int ring_fd)
{
    struct io_uring_rsrc_update update = {.offset = -1U, .data = (uint64_t) ring_fd};
    long done = syscall(__NR_io_uring_register, ring_fd, IORING_REGISTER_RING_FDS, &update, 1);
    if (done != 1)
        return done < 0 ? -errno : -EBUSY;
    return (int) update.offset;
}

static int loopx_unregister_ring_fd(int ring_fd, unsigned slot)
{
    struct io_uring_rsrc_update update = {.offset = slot};
    long done = syscall(__NR_io_uring_register, ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    return done < 0 ? -errno : 0;
}

/* Anonymous pages that a forked child does not inherit: the kernel writes to them. NULL and errno
   on failure. */
static void *loopx_map_pages(size_t bytes)
{
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (pages == MAP_FAILED)
        return NULL;
    if (madvise(pages, bytes, MADV_DONTFORK) != 0) {
        int saved = errno;
        munmap(pages, bytes);
        errno = saved;
        return NULL;
    }
    return pages;
}

static int loopx_unmap_pages(void *address, size_t bytes)
{
    return munmap(address, bytes) == 0 ? 0 : -errno;
}
"""


def _output(*command: str) -> str:
    """The stripped standard output of a command, '' if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def find_liburing() -> str:
    """The path of the static liburing.a; SystemExit with what to install when there is none."""
    compiler = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    folders = [
        _output("pkg-config", "--variable=libdir", "liburing"),
        os.path.dirname(_output(*compiler, "-print-file-name=liburing.a")),
    ]
    for folder in filter(None, folders):
        archive = os.path.realpath(os.path.join(folder, "liburing.a"))
        if os.path.isfile(archive):
            return archive
    raise SystemExit(f"loopx: {ADVICE}")


def include_folders() -> list[str]:
    """Where liburing.h is, if not where the compiler looks by itself."""
    flags = shlex.split(_output("pkg-config", "--cflags-only-I", "liburing"))
    return [flag[2:] for flag in flags if flag.startswith("-I")]


def liburing_version() -> str:
    """The version of the liburing that is compiled in, 'unknown' without its pkg-config file."""
    version = _output("pkg-config", "--modversion", "liburing")
    described = os.path.join(os.path.dirname(find_liburing()), "pkgconfig", "liburing.pc")
    if not version and os.path.isfile(described):  # pkg-config itself is not needed
        with open(described, encoding="utf-8") as lines:
            version = next((line[8:].strip() for line in lines if line.startswith("Version:")), "")
    return version or "unknown"


def make_ffi() -> cffi.FFI:
    """The builder of `loopx._liburing`; setup.py turns it into a C file and compiles that."""
    builder = cffi.FFI()
    builder.cdef(DECLARATIONS)
    builder.set_source("loopx._liburing", SOURCE)
    return builder
