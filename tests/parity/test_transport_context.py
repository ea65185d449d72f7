"""Which context variables the callbacks of a protocol see.

Owns: connections made by a client and by a server, side by side.
Thread: the test's own.
Must not: test what a callback's own changes mean to the next one; asyncio promises nothing there.
"""

import asyncio
import contextvars

from tests.support.net import run, serving, with_peer
from tests.support.payload import MIB
from tests.support.recorders import BufferedRecorder, Echo, Recorder

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


def test_callbacks_see_the_context_of_their_maker(loop: asyncio.AbstractEventLoop) -> None:
    class Watcher(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[str, str] = {}

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.seen["connection_made"] = VARIABLE.get()
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self.seen["data_received"] = VARIABLE.get()
            super().data_received(data)

        def eof_received(self) -> bool | None:
            self.seen["eof_received"] = VARIABLE.get()
            return super().eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            self.seen["connection_lost"] = VARIABLE.get()
            super().connection_lost(exc)

    async def one(value: str) -> Watcher:
        VARIABLE.set(value)
        async with with_peer(Watcher) as (watcher, peer):
            VARIABLE.set("changed later")
            await peer.send(b"x")
            await watcher.read(1)
            peer.half_close()
            await watcher.lost
            return watcher

    async def main() -> None:
        left, right = await asyncio.gather(one("left"), one("right"))
        names = {"connection_made", "data_received", "eof_received", "connection_lost"}
        assert left.seen == dict.fromkeys(names, "left")
        assert right.seen == dict.fromkeys(names, "right")
        assert VARIABLE.get() == "unset"

    run(loop, main())


def test_a_buffered_protocol_sees_it_too(loop: asyncio.AbstractEventLoop) -> None:
    """With little data and with much."""

    class Watcher(BufferedRecorder):
        def __init__(self) -> None:
            super().__init__()
            self.seen: set[str] = set()

        def get_buffer(self, sizehint: int) -> bytearray | memoryview:
            self.seen.add(VARIABLE.get())
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes: int) -> None:
            self.seen.add(VARIABLE.get())
            super().buffer_updated(nbytes)

    async def main() -> None:
        VARIABLE.set("maker")
        async with with_peer(Watcher) as (watcher, peer):
            VARIABLE.set("changed later")
            await peer.send(b"x")
            await watcher.received(1)
            await asyncio.gather(peer.send(bytes(3 * MIB)), watcher.received(1 + 3 * MIB))
            assert watcher.seen == {"maker"}

    run(loop, main())


def test_server_callbacks_see_the_context_of_create_server(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []

    class Watcher(Echo):
        def __init__(self) -> None:
            super().__init__()
            seen.append(VARIABLE.get())

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(VARIABLE.get())
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen.append(VARIABLE.get())
            super().data_received(data)
            VARIABLE.set("changed by a callback")

    async def main() -> None:
        VARIABLE.set("server")
        async with serving(Watcher) as served:
            VARIABLE.set("client")
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*served.address)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                writer.close()
                await writer.wait_closed()
        assert seen == ["server"] * 6
        assert VARIABLE.get() == "client"

    run(loop, main())
