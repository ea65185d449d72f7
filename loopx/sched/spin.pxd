# When to look for completions for a while before sleeping (spinning), and for how long at most.
# Only the loop's thread may touch it. It knows no clock and no ring: it is told what waits took.
#
# A thread that sleeps is woken late: its core has gone to rest, by 5 us on bare metal and 20 to 60
# us in a virtual machine. Where the next completion is nearer than that, looking is quicker, and
# takes about as much CPU time as to sleep and be woken does there. So a loop spins only after
# several waits in a row that were quick, and each spin that does not pay doubles the number of
# those that it takes. One pays that is shorter than quick waits are that sleep, with what they
# submit: it may take a core's time to save a part of that, but a peer on the same core, which
# answers once the loop gives way, is given way to. How long those waits take is measured anew now
# and then.

cdef enum:
    QUICK_WAITS_MIN = 4          # in a row, before the first spin
    QUICK_WAITS_MAX = 4096       # and at most, after spins that did not pay
    SHORTER_AMONG_MANY = 3
    SPINS_IN_A_ROW_MAX = 1024    # then one wait sleeps, whose length is what spins are held to
    AT_ONCE_NS = 2000            # what was there before the wait tells nothing of waits

cdef struct Spin:
    long long limit_ns           # of one spin of a lone connection; 0: never
    long long bound_ns           # of a spin in this wait
    long long slept_ns           # by quick waits, the waking included: an average of the last few
    unsigned int quick_waits     # in a row
    unsigned int wanted          # quick waits before the next spin


cdef inline void spin_init(Spin *spin, long long limit_ns) noexcept nogil:
    spin.limit_ns = spin.bound_ns = spin.slept_ns = limit_ns
    spin.quick_waits = 0
    spin.wanted = QUICK_WAITS_MIN


cdef inline bint spin_is_due(Spin *spin, bint lonely) noexcept nogil:
    """Whether to spin before this wait. Among many connections a late answer delays few others."""
    spin.bound_ns = spin.limit_ns if lonely else spin.limit_ns // SHORTER_AMONG_MANY
    return spin.quick_waits >= spin.wanted and spin.bound_ns > 0


cdef inline void spin_ended(Spin *spin, long long spun_ns, bint found) noexcept nogil:
    """A spin has found something after so long, or nothing."""
    if not found or spun_ns > max(spin.slept_ns, AT_ONCE_NS):
        spin.wanted = min(spin.wanted * 2, QUICK_WAITS_MAX)
        spin.quick_waits = 0
        return
    if AT_ONCE_NS < spun_ns <= spin.slept_ns * 3 // 4:
        spin.wanted = max(spin.wanted // 2, QUICK_WAITS_MIN)
    spin.quick_waits += 1
    if spin.quick_waits >= spin.wanted + SPINS_IN_A_ROW_MAX:
        spin.quick_waits = spin.wanted - 1


cdef inline void spin_slept(Spin *spin, long long slept_ns) noexcept nogil:
    """A wait without a spin, or after one in vain, took so long, the waking included."""
    if slept_ns > 2 * spin.bound_ns:
        spin.quick_waits = 0
        return
    spin.quick_waits += 1
    if slept_ns > AT_ONCE_NS:
        spin.slept_ns += (slept_ns - spin.slept_ns) // 4
