"""Random lives of connections: whatever the order of calls, every byte arrives once, in order.

Owns: seeded sequences of writes, pauses, exchanged protocols and limits on both ends at once.
Thread: the test's own.
Must not: use a seed that is not a parameter of the test, or a failure could not be repeated.
"""

import asyncio
import random
from typing import Any

import pytest

from tests.support.net import connected, run
from tests.support.payload import digest, pattern
from tests.support.recorders import BufferedRecorder, Recorder

SIZES_BYTES = (0, 1, 90, 1_500, 16_384, 70_000, 300_000)
STEPS = 120
SOURCE = pattern(64 << 20)


class Side:
    """One end: what it has written, and the two protocols that it receives with in turn."""

    def __init__(self, front: Recorder, choice: random.Random) -> None:
        self.choice = choice
        self.transport: Any = front.transport
        self.front = front
        self.back = BufferedRecorder()
        self.back.space = bytearray(choice.choice((1_000, 20_000, 200_000)))
        for name in ("note_data", "eof_received", "connection_lost", "pause_writing",
                     "resume_writing"):  # fmt: skip
            setattr(self.back, name, getattr(front, name))
        self.start = self.end = choice.randrange(1 << 20)

    def take(self) -> memoryview:
        """The next piece of the source."""
        begin, self.end = self.end, self.end + self.choice.choice(SIZES_BYTES)
        return memoryview(SOURCE)[begin : self.end]

    @property
    def written(self) -> memoryview:
        return memoryview(SOURCE)[self.start : self.end]

    def write(self) -> None:
        kind = self.choice.choice((bytes, bytearray, memoryview))
        piece = kind(self.take())
        self.transport.write(piece)
        if isinstance(piece, bytearray) and self.transport.get_write_buffer_size() == 0:
            piece[:] = bytes(len(piece))  # gone to the kernel: ours again on every loop

    def writelines(self) -> None:
        # asyncio of 3.12 and 3.13.0 cannot send an empty piece.
        pieces = [bytes(piece) for piece in (self.take(), self.take(), self.take()) if len(piece)]
        if pieces:
            self.transport.writelines(pieces)

    def pause(self) -> None:
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    def exchange(self) -> None:
        current = self.transport.get_protocol()
        self.transport.set_protocol(self.back if current is self.front else self.front)

    def limits(self) -> None:
        self.transport.set_write_buffer_limits(high=self.choice.choice((0, 1_000, 65_536, 1 << 22)))

    async def live(self) -> None:
        actions = [self.write] * 6 + [self.writelines] * 2 + [self.pause, self.resume] * 2
        actions += [self.exchange, self.limits]
        for _ in range(STEPS):
            self.choice.choice(actions)()
            if self.choice.random() < 0.4:
                await asyncio.sleep(0)
            if self.choice.random() < 0.05:
                self.resume()
                await self.front.writable.wait()
        self.resume()


@pytest.mark.parametrize("seed", range(40))
def test_random_life(loop: asyncio.AbstractEventLoop, seed: int) -> None:
    choice = random.Random(seed)

    async def main() -> None:
        async with connected(Recorder, Recorder) as protocols:
            one, other = (Side(protocol, random.Random(choice.random())) for protocol in protocols)
            await asyncio.gather(one.live(), other.live())
            one.resume()
            other.resume()
            await one.front.received(len(other.written))
            if choice.random() < 0.3:
                one.transport.write_eof()
            one.transport.close()
            assert await other.front.lost is None
            assert await one.front.lost is None
            for receiver, sender in ((one, other), (other, one)):
                assert receiver.front.received_bytes == len(sender.written)
                assert digest(receiver.front.buffer) == digest(sender.written)
                calls = receiver.front.calls
                assert calls.count("connection_made") == calls.count("connection_lost") == 1
                assert (calls[0], calls[-1]) == ("connection_made", "connection_lost")
                flow = [name for name in calls if name.endswith("_writing")]
                assert all(before != after for before, after in zip(flow, flow[1:], strict=False))

    run(loop, main())
