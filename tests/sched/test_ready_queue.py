"""The ready queue of loopx/sched against collections.deque.

A hypothesis state machine drives both with a capacity of 4, so that the ring wraps and grows all
the time.  Needs no loop.
"""

import gc
import random
import sys
import weakref
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.loops import require_loopx

require_loopx()

from loopx._core import ReadyQueueForTests  # noqa: E402


class Item:
    """Something that can be referenced weakly."""


class QueueMachine(RuleBasedStateMachine):
    """The model is a deque; an entry is a fresh object, compared by identity."""

    @initialize(capacity=st.sampled_from([1, 2, 4, 8]))
    def start(self, capacity):
        self.queue = ReadyQueueForTests(capacity=capacity)
        self.model = deque()

    @rule()
    def push(self):
        item = Item()
        self.queue.push(item)
        self.model.append(item)

    @rule(count=st.integers(1, 40))
    def push_many(self, count):
        for _ in range(count):
            self.push()

    @rule(count=st.integers(0, 40))
    def push_together(self, count):
        items = [Item() for _ in range(count)]
        self.queue.push_together(items)
        self.model.extend(items)

    @rule()
    def pop(self):
        if self.model:
            assert self.queue.pop() is self.model.popleft()
        else:
            with pytest.raises(IndexError):
                self.queue.pop()

    @rule(count=st.integers(1, 40))
    def pop_many(self, count):
        for _ in range(count):
            self.pop()

    @rule(count=st.integers(1, 40))
    def a_turn(self, count):
        """As a loop does: run what was ready when the turn began, each adding one more."""
        for _ in range(min(count, len(self.model))):
            self.pop()
            self.push()

    @invariant()
    def same_length(self):
        if hasattr(self, "queue"):
            assert len(self.queue) == len(self.model)

    def teardown(self):
        if hasattr(self, "queue"):
            while self.model:
                self.pop()
            self.pop()


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestQueue = QueueMachine.TestCase


def test_an_empty_queue():
    queue = ReadyQueueForTests(capacity=4)
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


@pytest.mark.parametrize("offset", range(9))
@pytest.mark.parametrize("size", [3, 4, 5, 8, 9, 17, 100])
def test_growing_at_every_offset(offset, size):
    queue = ReadyQueueForTests(capacity=4)
    for _ in range(offset):
        queue.push(None)
        queue.pop()
    for number in range(size):
        queue.push(number)
    assert [queue.pop() for _ in range(size)] == list(range(size))
    assert len(queue) == 0


def test_every_reference_is_given_back():
    queue = ReadyQueueForTests(capacity=4)
    item = Item()
    before = sys.getrefcount(item)
    for _ in range(1000):
        queue.push(item)
    assert sys.getrefcount(item) == before + 1000
    for _ in range(400):
        queue.pop()
    assert sys.getrefcount(item) == before + 600
    del queue
    gc.collect()
    assert sys.getrefcount(item) == before


def test_a_popped_entry_is_not_kept():
    queue = ReadyQueueForTests(capacity=4)
    queue.push(Item())
    alive = weakref.ref(queue.pop())
    assert alive() is None


def test_a_long_random_walk():
    chance = random.Random(7)
    queue, model = ReadyQueueForTests(capacity=4), deque()
    for number in range(200_000):
        if model and chance.random() < 0.499:
            assert queue.pop() == model.popleft()
        else:
            queue.push(number)
            model.append(number)
    assert len(queue) == len(model)
