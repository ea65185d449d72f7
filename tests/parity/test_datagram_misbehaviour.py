"""Callbacks of datagram protocols that raise: the endpoint lives on, and nothing is lost.

Owns: Exception, KeyboardInterrupt and SystemExit out of every callback.
Thread: the test's own; what is to be received is in the socket before the callback raises.
Must not: raise a plain KeyboardInterrupt or SystemExit, which end the test run.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.datagrams import (
    ANY_PORT,
    DatagramRecorder,
    drain,
    endpoint,
    fill,
    name_of,
    refusing_address,
    udp_socket,
    unix_pair,
)
from tests.support.interruptions import INTERRUPTIONS, Misdeed, run_through
from tests.support.net import capture_errors, only_on, run, turns

any_error = pytest.mark.parametrize("error", [Misdeed, *INTERRUPTIONS])
COUNT = 40  # more than one turn's worth


def raising(name: str, error: type[BaseException], times: int = 1) -> type[DatagramRecorder]:
    """A protocol whose callback `name` does its work and then raises, the first `times` times."""
    left = [times]

    def callback(self: Any, *args: Any) -> None:
        getattr(DatagramRecorder, name)(self, *args)
        if left[0]:
            left[0] -= 1
            raise error

    return type("Raising", (DatagramRecorder,), {name: callback})


def check(
    error: type[BaseException], errors: list[dict[str, Any]], interrupted: int, times: int = 1
) -> None:
    """An Exception is handed to the handler; the others end run_forever."""
    told = [type(context["exception"]) for context in errors]
    assert (told, interrupted) == (([error] * times, 0) if error is Misdeed else ([], times))


@any_error
def test_in_connection_made(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    errors = capture_errors(loop)

    async def main() -> None:
        async with endpoint(ANY_PORT, raising("connection_made", error)) as protocol:
            protocol.transport.sendto(b"works", name_of(protocol))
            assert await protocol.datagrams(1) == [b"works"]

    check(error, errors, run_through(loop, main())[1])


@any_error
def test_in_datagram_received(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    """Each is handed out once, in order, however many of them raise."""
    errors = capture_errors(loop)

    async def main() -> None:
        async with endpoint(ANY_PORT, raising("datagram_received", error, 20)) as protocol:
            with udp_socket() as sock:
                sent = [b"%d" % number for number in range(COUNT)]
                for data in sent:
                    sock.sendto(data, name_of(protocol))
                assert await protocol.datagrams(COUNT) == sent

    check(error, errors, run_through(loop, main())[1], 20)


@any_error
def test_in_error_received(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    """An error that came by itself; the endpoint receives and sends as before."""
    errors = capture_errors(loop)

    async def main() -> None:
        factory = raising("error_received", error)
        async with endpoint(remote_addr=refusing_address(), factory=factory) as protocol:
            protocol.transport.sendto(b"anybody?")
            await protocol.until(lambda: protocol.errors)
            peer = protocol.transport.get_extra_info("peername")
            async with endpoint(peer) as server:
                protocol.transport.sendto(b"question")
                assert await server.datagrams(1) == [b"question"]
                server.transport.sendto(b"answer", name_of(protocol))
                assert await protocol.datagrams(1) == [b"answer"]

    check(error, errors, run_through(loop, main())[1])


@any_error
def test_in_error_received_out_of_sendto(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    """It comes out of sendto; the endpoint lives on."""

    async def main() -> None:
        async with endpoint(ANY_PORT, raising("error_received", error)) as protocol:
            with pytest.raises(error):
                protocol.transport.sendto(bytes(70_000), name_of(protocol))
            protocol.transport.sendto(b"works", name_of(protocol))
            assert await protocol.datagrams(1) == [b"works"]

    run(loop, main())


@any_error
def test_in_error_received_for_one_that_waited(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, error: type[BaseException]
) -> None:
    """What stands behind it still leaves, and closing is completed."""
    errors = capture_errors(loop)

    async def main() -> None:
        with unix_pair(tmp_path) as (ours, theirs):
            factory = raising("error_received", error)
            async with endpoint(sock=ours, factory=factory) as protocol:
                filled = fill(ours)
                for data in (b"first", bytes(1 << 24), b"last"):
                    protocol.transport.sendto(data)
                assert not protocol.errors
                protocol.transport.close()
                received: list[bytes] = []
                while not protocol.lost.done():
                    received += drain(theirs)
                    await asyncio.sleep(0)
                received += drain(theirs)
                assert received == [b"f"] * filled + [b"first", b"last"]
                assert len(protocol.errors) == 1

    check(error, errors, run_through(loop, main())[1])


async def overflow(folder: Path, factory: type[DatagramRecorder]) -> int:
    """Queue more than the high mark, then receive it all; how often sendto was interrupted."""
    interrupted = 0
    with unix_pair(folder) as (ours, theirs):
        async with endpoint(sock=ours, factory=factory) as protocol:
            protocol.transport.set_write_buffer_limits(high=20_000, low=19_000)
            filled = fill(ours)
            sent = [b"%1000d" % number for number in range(COUNT)]
            for data in sent:
                try:
                    protocol.transport.sendto(data)
                except INTERRUPTIONS:
                    interrupted += 1
            received: list[bytes] = []
            while len(received) < filled + COUNT:
                received += drain(theirs)
                await asyncio.sleep(0)
            assert received[filled:] == sent
            await protocol.until(lambda: "resume_writing" in protocol.calls)
            flow = [call for call in protocol.calls if call.endswith("_writing")]
            assert flow == ["pause_writing", "resume_writing"]
    return interrupted


@any_error
def test_in_pause_writing(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, error: type[BaseException]
) -> None:
    """An interruption comes out of sendto, which has queued its datagram all the same."""
    errors = capture_errors(loop)
    in_sendto, interrupted = run_through(
        loop, overflow(tmp_path, raising("pause_writing", error))
    )
    check(error, errors, interrupted + in_sendto)
    assert not interrupted


def test_in_resume_writing(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    errors = capture_errors(loop)
    run(loop, overflow(tmp_path, raising("resume_writing", Misdeed)))
    check(Misdeed, errors, 0)


@only_on("loopx")
@pytest.mark.parametrize("error", INTERRUPTIONS)
def test_interruptions_in_resume_writing(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, error: type[BaseException]
) -> None:
    """asyncio then goes on to use the transport when it is gone."""
    errors = capture_errors(loop)
    factory = raising("resume_writing", error)
    assert run_through(loop, overflow(tmp_path, factory)) == (0, 1)
    assert not errors


@any_error
@pytest.mark.parametrize("ending", ["close", "abort"])
def test_in_connection_lost(
    loop: asyncio.AbstractEventLoop, ending: str, error: type[BaseException]
) -> None:
    """The descriptor is closed all the same: its address is free."""
    errors = capture_errors(loop)

    async def main() -> None:
        async with endpoint(ANY_PORT, raising("connection_lost", error)) as protocol:
            name = name_of(protocol)
            getattr(protocol.transport, ending)()
            await protocol.lost
        await turns()
        async with endpoint(name):
            pass

    check(error, errors, run_through(loop, main())[1])
