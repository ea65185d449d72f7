"""When a loop spins before it sleeps (loopx/sched/spin.pxd), and what that may cost.

The rules are driven by made-up waits: no clock, no ring.  tests/parity/test_spinning.py has a loop.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loops import require_loopx

require_loopx()

from loopx._core import SpinForTests  # noqa: E402

LIMIT_NS = 60_000
QUICK_NS = 2 * LIMIT_NS          # the longest wait that counts as quick
FIRST = 4                        # quick waits before the first spin
MOST = 4096                      # and at most
IN_A_ROW = 1024                  # spins, before one wait sleeps
AT_ONCE_NS = 2_000


def take_wait(spin, arrives_ns, waking_ns=0):
    """One wait for something that comes after `arrives_ns`; returns the nanoseconds spun."""
    spun_ns = 0
    if spin.due():
        found = arrives_ns <= LIMIT_NS
        spun_ns = min(arrives_ns, LIMIT_NS)
        spin.ended(spun_ns, found)
        if found:
            return spun_ns
    spin.slept(arrives_ns - spun_ns + waking_ns)
    return spun_ns


def waits_before_the_next_spin(spin, arrives_ns, waking_ns):
    waits = 0
    while not spin.due():
        take_wait(spin, arrives_ns, waking_ns)
        waits += 1
    return waits


def test_no_spin_before_several_quick_waits():
    spin = SpinForTests(LIMIT_NS)
    for _ in range(FIRST):
        assert not spin.due()
        spin.slept(QUICK_NS)
    assert spin.due()


def test_one_slow_wait_begins_the_count_anew():
    spin = SpinForTests(LIMIT_NS)
    for _ in range(FIRST - 1):
        spin.slept(0)
    spin.slept(QUICK_NS + 1)
    for _ in range(FIRST):
        assert not spin.due()
        spin.slept(0)
    assert spin.due()


@pytest.mark.parametrize("arrives_ns", [0, 5_000, LIMIT_NS])
def test_what_is_found_by_spinning_is_spun_for_again(arrives_ns):
    spin = SpinForTests(LIMIT_NS)
    for _ in range(FIRST):
        take_wait(spin, arrives_ns, waking_ns=40_000)
    slept = 0
    for _ in range(10 * IN_A_ROW):
        if not spin.due():
            slept += 1
            take_wait(spin, arrives_ns, waking_ns=40_000)
        assert take_wait(spin, arrives_ns) == arrives_ns
    assert slept <= 10


def test_spins_in_vain_become_rare():
    """Each wait is quick, and yet longer than a spin: the worst there is."""
    spin = SpinForTests(LIMIT_NS)
    spins = sum(take_wait(spin, LIMIT_NS + 1) > 0 for _ in range(100_000))
    # 4, 8, ... 2,048 quick waits before each of the first ten, then one in 4,096.
    assert spins <= 11 + 100_000 // MOST


@pytest.mark.parametrize("between_ns", [3_500, 0])
def test_spins_that_take_longer_than_sleeping_become_rare(between_ns):
    """A peer on the same core answers within 4 us of the loop's sleep, or when it is preempted."""
    spin = SpinForTests(LIMIT_NS)
    spins = 0
    for number in range(100_000):
        if not spin.due():
            spin.slept(4_000 if number % 2 else between_ns)
        elif number % 2:
            spin.ended(40_000, True)
            spins += 1
        else:
            spin.ended(between_ns, True)
    assert spins <= 40 + 100_000 // MOST


def test_how_long_sleeping_takes_is_measured_anew():
    """A peer that came to this core: what is found by spinning would be there much earlier."""
    spin = SpinForTests(LIMIT_NS)
    for _ in range(FIRST):
        spin.slept(QUICK_NS)
    spins = 0
    for _ in range(100_000):
        if spin.due():
            spin.ended(40_000, True)
            spins += 1
        else:
            spin.slept(4_000)
    assert spins <= 5 * IN_A_ROW


def test_what_was_there_before_the_wait_says_nothing_of_how_long_sleeping_takes():
    spin = SpinForTests(LIMIT_NS)
    for _ in range(1_000):
        spin.slept(AT_ONCE_NS)
    spin.ended(LIMIT_NS * 3 // 4, True)
    assert spin.due()


def test_after_spins_in_vain_a_successful_one_makes_them_frequent_again():
    spin = SpinForTests(LIMIT_NS)
    for _ in range(1_000):
        take_wait(spin, LIMIT_NS + 1)
    for _ in range(MOST + 20):
        take_wait(spin, 5_000, waking_ns=20_000)
    assert take_wait(spin, LIMIT_NS + 1) == LIMIT_NS
    assert waits_before_the_next_spin(spin, 5_000, waking_ns=20_000) <= 2 * FIRST


def test_what_is_found_at_once_makes_spins_no_more_frequent():
    spin = SpinForTests(LIMIT_NS)
    for _ in range(1_000):
        take_wait(spin, LIMIT_NS + 1)
    for _ in range(MOST + 20):
        take_wait(spin, AT_ONCE_NS)
    assert take_wait(spin, LIMIT_NS + 1) == LIMIT_NS
    assert waits_before_the_next_spin(spin, 5_000, waking_ns=20_000) > 2 * FIRST


def test_among_many_connections_waits_have_to_be_quicker():
    spin = SpinForTests(LIMIT_NS)
    for _ in range(FIRST):
        assert not spin.due(lonely=False)
        spin.slept(QUICK_NS // 3)
    assert spin.due(lonely=False)
    spin.ended(LIMIT_NS // 3, False)
    for _ in range(100):
        assert not spin.due(lonely=False)
        spin.slept(QUICK_NS // 3 + 1)


def test_a_limit_of_0_never_spins():
    spin = SpinForTests(0)
    for _ in range(100):
        spin.slept(0)
        assert not spin.due()


@given(st.lists(st.integers(0, 10 * LIMIT_NS), max_size=500))
def test_spins_in_vain_are_few_whatever_comes(arrivals):
    """Each one is paid for by as many waits since the last as there were to be quick."""
    spin = SpinForTests(LIMIT_NS)
    vain = found = 0
    for arrives_ns in arrivals:
        spun_ns = take_wait(spin, arrives_ns)
        vain += spun_ns > 0 and arrives_ns > LIMIT_NS
        found += 0 < spun_ns and arrives_ns <= LIMIT_NS
    assert vain * FIRST <= len(arrivals) - found
