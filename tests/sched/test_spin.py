"""When a loop spins before it sleeps (loopx/sched/spin.pxd), and what that may cost.

The rules are driven by made-up waits: no clock, no ring.  tests/parity/test_spinning.py has a loop.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loops import require_loopx

require_loopx()

from loopx._core import SpinForTests  # noqa: E402

LIMIT_NS = 30_000
QUICK_NS = 2 * LIMIT_NS          # the longest wait that counts as quick
FIRST = 4                        # quick waits before the first spin
MOST = 4096                      # and at most
AT_ONCE_NS = 2_000


class Waits:
    """A loop's waits, one after the other, on a made-up clock."""

    def __init__(self, limit_ns=LIMIT_NS):
        self.spin = SpinForTests(limit_ns)
        self.now_ns = 1_000_000_000
        self.sleep(AT_ONCE_NS + 1)

    def sleep(self, ns, worked_ns=0):
        """Work, then one wait without a spin."""
        self.now_ns += worked_ns
        self.spin.began(self.now_ns)
        self.now_ns += ns
        self.spin.slept(self.now_ns)

    def take(self, arrives_ns, waking_ns=0, worked_ns=0):
        """Work, then wait for something that comes after `arrives_ns`; the nanoseconds spun."""
        self.now_ns += worked_ns
        bound_ns = self.spin.began(self.now_ns)
        if self.spin.due() and arrives_ns <= bound_ns:
            self.now_ns += arrives_ns
            self.spin.found(self.now_ns)
            return arrives_ns
        spun_ns = bound_ns if self.spin.due() else 0
        if spun_ns:
            self.spin.was_in_vain(self.now_ns + spun_ns)
        self.now_ns += arrives_ns + waking_ns
        self.spin.slept(self.now_ns)
        return spun_ns


def test_no_spin_before_several_quick_waits():
    waits = Waits()
    waits.sleep(10 * QUICK_NS)
    for _ in range(FIRST):
        assert not waits.spin.due()
        waits.sleep(QUICK_NS)
    assert waits.spin.due()


def test_one_slow_wait_begins_the_count_anew():
    waits = Waits()
    for _ in range(FIRST):
        waits.sleep(0)
    waits.sleep(QUICK_NS + 1)
    for _ in range(FIRST):
        assert not waits.spin.due()
        waits.sleep(0)
    assert waits.spin.due()


def test_what_is_found_by_spinning_is_spun_for_again():
    waits = Waits()
    for _ in range(FIRST):
        waits.take(5_000, waking_ns=20_000)
    for _ in range(1_000):
        assert waits.take(5_000) == 5_000


def test_spins_in_vain_become_rare():
    """Each wait is quick, and yet longer than a spin: the worst there is."""
    waits = Waits()
    spins = sum(waits.take(LIMIT_NS + 1) > 0 for _ in range(100_000))
    # 4, 8, ... 2,048 quick waits before each of the first ten, then one in 4,096.
    assert spins <= 11 + 100_000 // MOST


def test_after_spins_in_vain_a_successful_one_makes_them_frequent_again():
    waits = Waits()
    for _ in range(1_000):
        waits.take(LIMIT_NS + 1)
    for _ in range(MOST + 20):
        waits.take(5_000)
    assert waits.take(LIMIT_NS + 1) == LIMIT_NS
    count = 0
    while not waits.spin.due():
        waits.take(5_000)
        count += 1
    assert count <= 2 * FIRST


@pytest.mark.parametrize(
    ("worked_ns", "spun_ns"),
    [(0, LIMIT_NS), (LIMIT_NS, LIMIT_NS), (LIMIT_NS + 5_000, LIMIT_NS + 5_000),
     (2 * LIMIT_NS, 2 * LIMIT_NS), (50 * LIMIT_NS, 2 * LIMIT_NS)],
)
def test_a_spin_after_long_work_is_as_long_up_to_twice_the_limit(worked_ns, spun_ns):
    waits = Waits()
    for _ in range(FIRST):
        waits.take(1_000)
    assert waits.take(spun_ns, worked_ns=worked_ns) == spun_ns
    assert waits.take(spun_ns + 1, worked_ns=worked_ns) == spun_ns
    assert not waits.spin.due()          # it was in vain


@pytest.mark.parametrize("worked_ns", [0, LIMIT_NS + 5_000, 9 * LIMIT_NS])
def test_what_counts_as_quick_follows_the_bound(worked_ns):
    quick_ns = 2 * min(max(worked_ns, LIMIT_NS), 2 * LIMIT_NS)
    waits = Waits()
    waits.sleep(10 * QUICK_NS)
    for _ in range(FIRST):
        assert not waits.spin.due()
        waits.sleep(quick_ns, worked_ns)
    assert waits.spin.due()
    waits.sleep(quick_ns + 1, worked_ns)
    assert not waits.spin.due()


def test_a_wait_is_no_work():
    """Whether it found something, was slept through, or slept through after a spin in vain.

    But one that was over at once is none.
    """
    waits = Waits()
    waits.take(50 * LIMIT_NS)
    assert waits.spin.began(waits.now_ns) == LIMIT_NS
    for _ in range(FIRST):
        waits.take(1_000)
    waits.take(LIMIT_NS - 1)
    assert waits.spin.began(waits.now_ns) == LIMIT_NS
    waits.take(50 * LIMIT_NS)
    assert waits.spin.began(waits.now_ns) == LIMIT_NS
    for find in (waits.take, waits.sleep):
        waits.take(50 * LIMIT_NS)
        waits.now_ns += LIMIT_NS
        find(AT_ONCE_NS)
        assert waits.spin.began(waits.now_ns) == LIMIT_NS + AT_ONCE_NS
        find(AT_ONCE_NS + 1)
        assert waits.spin.began(waits.now_ns) == LIMIT_NS


def test_a_limit_of_0_never_spins():
    waits = Waits(0)
    for _ in range(100):
        waits.take(0, worked_ns=1_000_000)
        assert not waits.spin.due()


@given(st.lists(st.tuples(st.integers(0, 10 * LIMIT_NS), st.integers(0, 5 * LIMIT_NS)),
                max_size=500))
def test_spins_in_vain_are_few_whatever_comes(happens):
    """Each one is paid for by as many waits since the last as there were to be quick."""
    waits = Waits()
    vain = found = 0
    for arrives_ns, worked_ns in happens:
        spun_ns = waits.take(arrives_ns, worked_ns=worked_ns)
        assert spun_ns <= 2 * LIMIT_NS
        vain += 0 < spun_ns < arrives_ns
        found += 0 < spun_ns == arrives_ns
    assert vain * FIRST <= len(happens) - found
