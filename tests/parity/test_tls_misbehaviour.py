"""A protocol behind TLS whose callback raises, is interrupted, closes or aborts.

Owns: every callback that follows the handshake with each of these, on both kinds of protocol.
Thread: the test's own; both ends are on the loop under test.
Must not: promise what comes after an exception, which asyncio answers by aborting.
"""

import asyncio
import contextlib
import os
import socket
from typing import Any

import pytest

from tests.support import certs
from tests.support.interruptions import INTERRUPTIONS, Misdeed, both_errors, run_through
from tests.support.net import capture_errors, connected, dial, echo_once, only_on, serving
from tests.support.payload import MIB
from tests.support.recorders import BufferedRecorder, Echo, Recorder

BIG = b"b" * (16 * MIB)
READING = ("data_received", "get_buffer", "buffer_updated")
FLOW = ("pause_writing", "resume_writing")
ENDS = ("eof_received", "connection_lost")
ASYNCIO_CANNOT = "resume_writing", "abort"


def raising(name: str, action: str | type[BaseException]) -> type[Any]:
    """A protocol whose callback `name` does its work, then misbehaves, once it is armed."""
    base: type[Any] = BufferedRecorder if "buffer" in name else Recorder

    def init(self: Any) -> None:
        base.__init__(self)
        self.armed = False  # get_buffer is called at the end of the handshake
        self.acted = asyncio.get_running_loop().create_future()

    def callback(self: Any, *args: Any) -> Any:
        result = getattr(base, name)(self, *args)
        if self.armed and not self.acted.done():
            self.acted.set_result(None)
            if not isinstance(action, str):
                raise action
            getattr(self.transport, action)()
        return result

    return type("Misbehaving", (base,), {"__init__": init, name: callback})


async def play(name: str, factory: type[Any]) -> tuple[Any, Echo]:
    """Make the loop call `name` of a client behind TLS, then end: (client, server)."""
    async with serving(Echo) as served:
        witness = await dial(served.address)
        async with connected(factory, Echo, **certs.both_ends()) as (client, server):
            client.armed = True
            if name in FLOW:
                server.transport.pause_reading()
                for _ in range(2):
                    with contextlib.suppress(*INTERRUPTIONS):  # out of pause_writing
                        client.transport.write(BIG)
                server.transport.resume_reading()
            else:
                client.transport.write(b"hello")
                if name in ENDS:
                    await client.read(5)
                    server.transport.close()
            await client.acted
            await echo_once(witness, b"others are served")
            if not client.transport.is_closing() and name in READING:
                client.transport.write(b"more")
                await client.received(9)
            client.transport.close()
            await client.lost
            await server.lost
        witness.transport.close()
        await witness.lost
        return client, server


@pytest.mark.parametrize("name", [*READING, *FLOW, *ENDS])
@pytest.mark.parametrize("action", [Misdeed, *INTERRUPTIONS, "close", "abort"])
def test_misdeed(
    loop: asyncio.AbstractEventLoop, name: str, action: str | type[BaseException]
) -> None:
    if isinstance(loop, asyncio.SelectorEventLoop) and (name, action) == ASYNCIO_CANNOT:
        pytest.skip("asyncio fails with an AttributeError in the loop")
    errors = capture_errors(loop)
    (client, server), interrupted = run_through(loop, play(name, raising(name, action)))
    assert interrupted == (action in INTERRUPTIONS and name != "pause_writing")
    for protocol in (client, server):
        assert protocol.calls.count("connection_made") == 1
        assert protocol.calls.count("connection_lost") == 1
        assert protocol.calls[-1] == "connection_lost"
    if action is Misdeed:
        assert [type(context["exception"]) for context in errors] == [Misdeed]
    else:
        assert errors == []


@both_errors
def test_an_interrupted_end(loop: asyncio.AbstractEventLoop, error: type[BaseException]) -> None:
    """Whoever ends without a close_notify, and stays, does not keep the connection."""

    async def main() -> None:
        failing = raising("eof_received", error)
        async with connected(failing, Echo, **certs.both_ends()) as (client, server):
            client.armed = True
            fd = os.dup(server.transport.get_extra_info("socket").fileno())
            with socket.socket(fileno=fd) as of_server:
                of_server.shutdown(socket.SHUT_WR)
            await client.lost
            assert client.calls.count("eof_received") == 1

    _, interruptions = run_through(loop, main())
    assert interruptions == 1


class Greeting(Recorder):
    """Speaks first: a client's greeting arrives with the end of its handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(b"hello")


def interrupting(base: type[Any], error: type[BaseException]) -> type[Any]:
    """A protocol whose connection_made does its work, then is interrupted."""

    def connection_made(self: Any, transport: asyncio.BaseTransport) -> None:
        base.connection_made(self, transport)
        raise error

    return type("Interrupted", (base,), {"connection_made": connection_made})


@only_on("loopx")
@both_errors
@pytest.mark.parametrize("interrupted", ["client", "server", "both"])
def test_an_interrupted_connection_made(
    loop: asyncio.AbstractEventLoop, error: type[BaseException], interrupted: str
) -> None:
    """The connection stands, as one without TLS does; asyncio leaves both ends waiting."""
    client: type[Any] = Greeting if interrupted == "server" else Recorder
    server: type[Any] = Echo if interrupted == "server" else Greeting
    if interrupted != "server":
        client = interrupting(client, error)
    if interrupted != "client":
        server = interrupting(server, error)

    async def main() -> None:
        async with connected(client, server, **certs.both_ends()) as (dialled, accepted):
            assert await dialled.read(5) == b"hello"
            for protocol in (dialled, accepted):
                assert protocol.calls.count("connection_made") == 1

    _, interruptions = run_through(loop, main())
    assert interruptions == (2 if interrupted == "both" else 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", [Misdeed, *INTERRUPTIONS])
def test_a_callback_for_the_server_name(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    """OpenSSL's callbacks cannot raise: the handshake fails, whatever it was."""

    async def main() -> None:
        def choose(*_args: Any) -> None:
            raise error

        context = certs.server_context()
        context.sni_callback = choose  # type: ignore[assignment]
        async with serving(Echo, ssl=context) as served:
            with pytest.raises((OSError, error)):
                await loop.create_connection(
                    Recorder,
                    *served.address,
                    ssl=certs.client_context(),
                    server_hostname=certs.HOSTNAME,
                )
            context.sni_callback = None  # type: ignore[assignment]
            _, client = await loop.create_connection(
                Recorder,
                *served.address,
                ssl=certs.client_context(),
                server_hostname=certs.HOSTNAME,
            )
            await echo_once(client)
            client.transport.close()
            await client.lost

    capture_errors(loop)
    run_through(loop, main())
