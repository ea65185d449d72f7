"""The timers' heap of loopx/sched against a list kept sorted, and against heapq.

A hypothesis state machine drives both with few distinct times, so that ties and cancellations of
every position happen.  Needs no loop.
"""

import heapq
import math
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.loops import require_loopx

require_loopx()

from loopx._core import TimersHeapForTests  # noqa: E402

# Few times: equal ones must come out in the order in which they went in.
TIMES = st.one_of(
    st.sampled_from([-1.0, 0.0, -0.0, 0.5, 1.0, 1.5, 1e-9, 1e9, math.inf]),
    st.floats(-10, 10, allow_nan=False),
)


class HeapMachine(RuleBasedStateMachine):
    """The model is a list of (when, number of the push, key) and a heap of the same for heapq."""

    @initialize()
    def start(self):
        self.heap = TimersHeapForTests()
        self.model = []
        self.cancelled = set()
        self.pushes = 0

    @rule(when=TIMES)
    def push(self, when):
        key = self.pushes
        self.pushes += 1
        self.heap.push(when, key)
        heapq.heappush(self.model, (when, key))

    @rule(when=TIMES, count=st.integers(2, 20))
    def push_ties(self, when, count):
        for _ in range(count):
            self.push(when)

    def live(self):
        return sorted(entry for entry in self.model if entry[1] not in self.cancelled)

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def cancel(self, data):
        _, key = data.draw(st.sampled_from(self.live()))
        self.heap.cancel(key)
        self.cancelled.add(key)

    @precondition(lambda self: self.live())
    @rule()
    def cancel_the_first(self):
        _, key = self.live()[0]
        self.heap.cancel(key)
        self.cancelled.add(key)

    @rule(now=TIMES)
    def pop_due(self, now):
        expected = []
        while self.model and self.model[0][0] <= now:
            _, key = heapq.heappop(self.model)
            if key not in self.cancelled:
                expected.append(key)
        assert self.heap.pop_due(now) == expected

    @rule()
    def pop_everything(self):
        self.pop_due(math.inf)
        assert len(self.heap) == 0

    @invariant()
    def same_size(self):
        if hasattr(self, "heap"):
            assert len(self.heap) == len(self.live())

    @invariant()
    def same_first(self):
        if hasattr(self, "heap"):
            live = self.live()
            assert self.heap.peek() == (live[0][0] if live else None)

    @rule(when=TIMES)
    def look_for_two(self, when):
        second = [time for time, _ in self.live()][1:2]
        assert self.heap.has_two_before(when) == (second != [] and second[0] < when)


HeapMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestHeap = HeapMachine.TestCase


def test_an_empty_heap():
    heap = TimersHeapForTests()
    assert len(heap) == 0
    assert heap.peek() is None
    assert heap.pop_due(math.inf) == []


@pytest.mark.parametrize("place", range(1, 5))
def test_the_second_may_be_any_child_of_the_first(place):
    heap = TimersHeapForTests()
    for key in range(6):
        heap.push(0.0 if key == 0 else 1.0 if key == place else 9.0, key)
    assert heap.has_two_before(2.0)
    assert not heap.has_two_before(1.0)


def test_what_is_due_at_no_time_is_due():
    heap = TimersHeapForTests()
    heap.push(1.0, 1)
    heap.push(math.nan, 2)
    heap.push(-math.inf, 3)
    assert heap.pop_due(0.0) == [2, 3]


def test_what_is_due_exactly_now_is_due():
    heap = TimersHeapForTests()
    heap.push(1.0, 1)
    assert heap.pop_due(math.nextafter(1.0, 0.0)) == []
    assert heap.pop_due(1.0) == [1]


def test_a_thousand_ties_come_out_first_in_first_out():
    heap = TimersHeapForTests()
    for key in range(1000):
        heap.push(5.0, key)
    for key in range(0, 1000, 3):
        heap.cancel(key)
    assert heap.pop_due(5.0) == [key for key in range(1000) if key % 3]


@pytest.mark.parametrize("seed", range(4))
def test_many_timers_are_sorted_as_by_heapq(seed):
    chance = random.Random(seed)
    heap, model = TimersHeapForTests(), []
    for key in range(5000):
        when = float(chance.randrange(500))
        heap.push(when, key)
        heapq.heappush(model, (when, key))
    for now in sorted(chance.sample(range(500), 50)):
        expected = []
        while model and model[0][0] <= now:
            expected.append(heapq.heappop(model)[1])
        assert heap.pop_due(float(now)) == expected


def test_cancelling_everything_in_every_order():
    for seed in range(20):
        heap = TimersHeapForTests()
        keys = list(range(50))
        for key in keys:
            heap.push(float(key % 7), key)
        random.Random(seed).shuffle(keys)
        for left, key in zip(range(49, -1, -1), keys, strict=True):
            heap.cancel(key)
            assert len(heap) == left
        assert heap.peek() is None
