"""When waits go on for several completions (loopx/sched/streaming.pxd).

The rule is driven by made-up receives: no clock, no ring.  tests/parity/test_batches.py has a loop.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.loops import require_loopx

require_loopx()

from loopx._core import StreamingForTests  # noqa: E402

ENOUGH = 32_768                  # bytes received since the last wait
FIRST = 4                        # waits before the first batch
FORGOTTEN = 16                   # waits until those who sent before are
PERIOD = 16 << 20                # bytes that are timed
PIECE = PERIOD // 256
PAUSE_NS = 1_000_000
USUAL_NS = 10_000
PERIODS_WITH = 64


class Streamed:
    """The rule, and what a loop would tell it."""

    def __init__(self):
        self.rule = StreamingForTests()
        self.now_ns = self.written = self.dispatched = 0
        self.goes_on = False

    def wait(self, *senders, each=PIECE, takes_ns=USUAL_NS, writes=0, others=0):
        """Whether the next wait is for a batch, after this was received and written."""
        for sender in senders:
            self.rule.received(sender, each)
        self.now_ns += takes_ns
        self.written += writes
        self.dispatched += len(senders) + others
        self.goes_on = self.rule.goes_on(self.written, self.dispatched, self.now_ns)
        return self.goes_on

    def waits(self, senders, **options):
        return [self.wait(sender, **options) for sender in senders]

    def period(self, batch_ns=USUAL_NS, plain_ns=USUAL_NS):
        """How many batches there are while two peers stream a period's bytes."""
        batches = 0
        for number in range(PERIOD // PIECE):
            self.wait(number % 2 + 1, takes_ns=batch_ns if self.goes_on else plain_ns)
            batches += self.goes_on
        return batches


@pytest.fixture
def streamed():
    """What has timed its first period, which has no batch."""
    made = Streamed()
    assert made.period() <= 1
    assert not made.wait()
    return made


def test_the_first_period_has_none():
    streamed = Streamed()
    assert not any(streamed.waits([1, 2] * (PERIOD // PIECE // 2 - 1)))
    assert streamed.rule.peers_stream()        # as is known all the same
    assert streamed.waits([1, 2])[-1]


def test_two_who_stream_in_turns_are_waited_for(streamed):
    assert streamed.waits([1, 2] * 20) == [False] * (FIRST - 1) + [True] * (41 - FIRST)


def test_one_who_streams_alone_is_not():
    """It waits for the answer to its last byte, whenever that comes."""
    streamed = Streamed()
    for _ in range(1_000):
        assert not streamed.wait(1)
        assert not streamed.rule.peers_stream()


def test_who_goes_on_alone_is_not_for_long(streamed):
    assert streamed.waits([1, 2] * 5)[-1]
    went_on = streamed.waits([2] * 100)
    assert went_on[: FORGOTTEN - 1] == [True] * (FORGOTTEN - 1)
    assert not any(went_on[FORGOTTEN - 1:])


def test_long_runs_of_one_sender_count_as_turns(streamed):
    """As those of load generators that fill one socket after the other."""
    assert all(streamed.waits(([1] * 10 + [2] * 10) * 10)[10 + FIRST:])


@pytest.mark.parametrize("what", ["writes", "others"])
def test_who_is_answered_each_time_is_not_waited_for(streamed, what):
    assert not any(streamed.waits([1, 2] * 50, **{what: 1}))


@pytest.mark.parametrize("what", ["writes", "others"])
def test_an_answer_now_and_then_changes_nothing(streamed, what):
    went_on = [streamed.wait(number % 2, **{what: number % 5 == 0}) for number in range(100)]
    assert all(went_on[20:])


@pytest.mark.parametrize("what", ["writes", "others"])
def test_more_answers_than_that_end_it(streamed, what):
    went_on = [streamed.wait(number % 2, **{what: number % 2}) for number in range(100)]
    assert not any(went_on[20:])


@pytest.mark.parametrize("senders", [[], [1]])
def test_a_wait_after_less_begins_the_count_anew(streamed, senders):
    assert streamed.waits([1, 2] * 5)[-1]
    assert not streamed.wait(*senders, each=ENOUGH - 1)
    assert streamed.waits([1, 2, 1, 2], each=ENOUGH) == [False] * (FIRST - 1) + [True]


def test_what_several_brought_counts_together(streamed):
    for _ in range(FIRST):
        went_on = streamed.wait(1, 2, 3, 4, each=ENOUGH // 4)
    assert went_on


def test_slower_batches_are_tried_ever_more_rarely(streamed):
    with_batches = []
    for number in range(200):
        if streamed.period(batch_ns=2 * USUAL_NS):
            with_batches.append(number)
    gaps = [after - before for before, after in zip(with_batches, with_batches[1:], strict=False)]
    # The last wait of a period is the next one's: some of its batches are in two.
    assert [gap for gap in gaps if gap > 1] == [2, 4, 8, 16, 32, 64]


def test_batches_that_take_little_longer_go_on(streamed):
    """They spare senders more than that."""
    assert all(streamed.period(batch_ns=USUAL_NS * 11 // 10) for _ in range(PERIODS_WITH - 1))


def test_without_batches_is_timed_anew(streamed):
    batches = [streamed.period() for _ in range(3 * PERIODS_WITH)]
    assert 2 <= sum(count <= FIRST for count in batches) <= 4


def test_once_batches_are_no_slower_they_are_had_again(streamed):
    for _ in range(10):
        streamed.period(batch_ns=2 * USUAL_NS)
    batches = [streamed.period() > FIRST for _ in range(100)]
    assert sum(batches) > 100 - 20
    streamed.period(batch_ns=2 * USUAL_NS)
    streamed.period(batch_ns=2 * USUAL_NS)
    assert sum(streamed.period() > FIRST for _ in range(10)) >= 6


def test_pauses_are_not_timed(streamed):
    """What senders do meanwhile is theirs."""
    for _ in range(PERIODS_WITH // 2):
        assert streamed.period()
        streamed.wait(1, takes_ns=PAUSE_NS)


@given(st.lists(st.tuples(st.sampled_from([0, 1, ENOUGH - 1, ENOUGH, PERIOD]), st.integers(1, 3),
                          st.booleans(), st.booleans(), st.integers(0, 2 * PAUSE_NS))))
def test_it_takes_several_waits_in_a_row_with_enough(steps):
    streamed, enough = Streamed(), 0
    for length, sender, writes, others, takes_ns in steps:
        went_on = streamed.wait(
            sender, each=length, writes=writes, others=others, takes_ns=takes_ns)
        enough = enough + 1 if length >= ENOUGH else 0
        assert not (streamed.rule.peers_stream() and enough < FIRST)
        assert streamed.rule.peers_stream() or not went_on
