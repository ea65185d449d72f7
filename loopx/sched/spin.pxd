# When to look for completions for a while before sleeping (spinning), and for how long at most.
# Only the loop's thread may touch it. It knows no clock and no ring: it is told what waits took.
#
# A thread that sleeps is woken late: its core has gone to rest, by 5 us on bare metal and 20 us and
# more in a virtual machine. Where the next completion is nearer than that, looking is quicker and
# costs no more. So a loop spins only after several waits in a row that were quick, and each spin in
# vain doubles the number of those that it takes: what is wasted is bounded however work arrives.
#
# A peer that gets much to do with each answer takes as long until it asks again. Where the loop
# has worked for longer than a spin since its last wait, it may spin for as long as that, up to
# twice the limit: what is looked for in such a spin costs no more than what was done.

cdef enum:
    QUICK_WAITS_MIN = 4          # in a row, before the first spin
    QUICK_WAITS_MAX = 4096       # and at most, after spins in vain
    AT_ONCE_NS = 2000            # a wait that found what was there before it is part of the work

cdef struct Spin:
    long long limit_ns           # of one spin after short work; 0: never
    long long began_ns           # the clock when this wait began
    long long ended_ns           # and when the last one that was not over at once ended
    long long bound_ns           # of a spin in this wait
    unsigned int quick_waits     # in a row
    unsigned int wanted          # quick waits before the next spin


cdef inline void spin_init(Spin *spin, long long limit_ns) noexcept nogil:
    spin.limit_ns = limit_ns
    spin.began_ns = spin.ended_ns = 0
    spin.bound_ns = limit_ns
    spin.quick_waits = 0
    spin.wanted = QUICK_WAITS_MIN


cdef inline void spin_wait_began(Spin *spin, long long now_ns) noexcept nogil:
    spin.began_ns = now_ns
    spin.bound_ns = min(max(now_ns - spin.ended_ns, spin.limit_ns), 2 * spin.limit_ns)


cdef inline bint spin_is_due(Spin *spin) noexcept nogil:
    """Whether to spin before this wait."""
    return spin.quick_waits >= spin.wanted and spin.limit_ns > 0


cdef inline void spin_wait_ended(Spin *spin, long long now_ns) noexcept nogil:
    if now_ns - spin.began_ns > AT_ONCE_NS:
        spin.ended_ns = now_ns


cdef inline void spin_found(Spin *spin, long long now_ns) noexcept nogil:
    """A spin found something, which ends the wait."""
    spin_wait_ended(spin, now_ns)
    spin.wanted = max(spin.wanted // 2, QUICK_WAITS_MIN)


cdef inline void spin_was_in_vain(Spin *spin, long long now_ns) noexcept nogil:
    """A spin found nothing. A sleep is likely to follow, and to belong to the same wait."""
    spin_wait_ended(spin, now_ns)
    spin.wanted = min(spin.wanted * 2, QUICK_WAITS_MAX)
    spin.quick_waits = 0


cdef inline void spin_slept(Spin *spin, long long now_ns) noexcept nogil:
    """The wait has ended without a spin, or after one in vain; the waking is part of it."""
    cdef bint quick = now_ns - spin.began_ns <= 2 * spin.bound_ns
    spin.quick_waits = spin.quick_waits + 1 if quick else 0
    spin_wait_ended(spin, now_ns)
