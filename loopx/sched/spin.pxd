# When to look for completions for a while before sleeping (spinning), and for how long at most.
# Only the loop's thread may touch it. It knows no clock and no ring: it is told what waits took.
#
# A thread that sleeps is woken late: its core has gone to rest, by 5 us on bare metal and 20 us and
# more in a virtual machine. Where the next completion is nearer than that, looking is quicker and
# costs no more. So a loop spins only after several waits in a row that were quick, and each spin in
# vain doubles the number of those that it takes: what is wasted is bounded however work arrives.

cdef enum:
    QUICK_WAITS_MIN = 4          # in a row, before the first spin
    QUICK_WAITS_MAX = 4096       # and at most, after spins in vain

cdef struct Spin:
    long long limit_ns           # of one spin; 0: never
    unsigned int quick_waits     # in a row
    unsigned int wanted          # quick waits before the next spin


cdef inline void spin_init(Spin *spin, long long limit_ns) noexcept nogil:
    spin.limit_ns = limit_ns
    spin.quick_waits = 0
    spin.wanted = QUICK_WAITS_MIN


cdef inline bint spin_is_due(Spin *spin) noexcept nogil:
    """Whether to spin before this wait."""
    return spin.quick_waits >= spin.wanted and spin.limit_ns > 0


cdef inline void spin_ended(Spin *spin, bint found) noexcept nogil:
    """A spin found something, or nothing."""
    if found:
        spin.wanted = max(spin.wanted // 2, QUICK_WAITS_MIN)
    else:
        spin.wanted = min(spin.wanted * 2, QUICK_WAITS_MAX)
        spin.quick_waits = 0


cdef inline void spin_slept(Spin *spin, long long slept_ns) noexcept nogil:
    """A wait without a spin, or after one in vain, took so long, the waking included."""
    spin.quick_waits = spin.quick_waits + 1 if slept_ns <= 2 * spin.limit_ns else 0
