"""Random traffic between two endpoints: on a Unix pair nothing is lost, doubled or reordered.

Owns: hypothesis' choice of sizes, pauses, water marks and turns on both sides at once.
Thread: the test's own.
Must not: keep state from one example to the next.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.datagrams import DatagramRecorder, endpoint, unix_pair
from tests.support.loops import LoopFactory
from tests.support.net import run
from tests.support.payload import pattern

SOURCE = memoryview(pattern(1 << 20))


class Step(NamedTuple):
    """What one side does: send `count` of `size_bytes`, or what `action` says; then some turns."""

    action: str
    size_bytes: int
    count: int
    turns: int


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["send"] * 6 + ["pause", "resume", "exchange", "limits", "wait"]),
        st.one_of(st.integers(1, 64), st.integers(1, 3_000), st.integers(1, 100_000)),
        st.integers(1, 40),
        st.integers(0, 3),
    ),
    max_size=30,
)


class Side:
    """One end, which keeps what it sent."""

    def __init__(self, protocol: DatagramRecorder) -> None:
        self.protocol = protocol
        self.transport: Any = protocol.transport
        self.sent: list[bytes] = []

    def send(self, step: Step) -> None:
        for _ in range(step.count):
            start = len(self.sent) * 7 % (len(SOURCE) - step.size_bytes)
            data = bytes(SOURCE[start : start + step.size_bytes])
            self.sent.append(data)
            self.transport.sendto(data)

    def exchange(self) -> None:
        """A protocol in place of the one in use, which shares all that it notes."""
        fresh = DatagramRecorder()
        fresh.__dict__ = self.protocol.__dict__
        self.transport.set_protocol(fresh)

    async def live(self, life: list[Step]) -> None:
        for step in life:
            if step.action == "send":
                self.send(step)
            elif step.action == "pause":
                self.transport.pause_reading()
            elif step.action == "resume":
                self.transport.resume_reading()
            elif step.action == "exchange":
                self.exchange()
            elif step.action == "limits":
                # asyncio of 3.13.0 forgets 8 bytes with each datagram: it would pause for ever.
                self.transport.set_write_buffer_limits(high=step.size_bytes + 30_000)
            for _ in range(step.turns):
                await asyncio.sleep(0)
        self.transport.resume_reading()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(one_life=steps, other_life=steps, closes=st.booleans())
def test_random_traffic(
    loop_factory: LoopFactory, one_life: list[Step], other_life: list[Step], closes: bool
) -> None:
    async def main(folder: Path) -> None:
        with unix_pair(folder) as (ours, theirs):
            async with endpoint(sock=ours) as front, endpoint(sock=theirs) as back:
                one, other = Side(front), Side(back)
                await asyncio.gather(one.live(one_life), other.live(other_life))
                # Before closing: Linux purges what a Unix socket has received when it sends to a
                # peer that is gone.
                await one.protocol.until(lambda: len(one.protocol.received) >= len(other.sent))
                if closes:
                    one.transport.close()
                await other.protocol.until(lambda: len(other.protocol.received) >= len(one.sent))
                assert [data for data, _ in one.protocol.received] == other.sent
                assert [data for data, _ in other.protocol.received] == one.sent
                if closes:
                    assert await one.protocol.lost is None
                for side in (one, other):
                    flow = [call for call in side.protocol.calls if call.endswith("_writing")]
                    assert flow[::2] == ["pause_writing"] * len(flow[::2])
                    assert flow[1::2] == ["resume_writing"] * len(flow[1::2])

    loop = loop_factory()
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(loop, main(Path(folder)))
    finally:
        loop.close()
