"""What a stream transport is, what it knows of its socket, and the order of its callbacks.

Owns: class, extra information, protocols and their exchange, references.
Thread: the test's own; every test runs on asyncio's loop and on loopx.
Must not: depend on how much a single read delivers.
"""

import asyncio
import gc
import logging
import socket
import weakref
from asyncio.trsock import TransportSocket

import pytest

from tests.support.net import (
    Peer,
    capture_errors,
    connected,
    listen,
    run,
    serving,
    turns,
    with_peer,
)
from tests.support.recorders import Echo, Recorder


def test_transport_is_a_real_asyncio_transport(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            for transport in (client.transport, server.transport):
                assert isinstance(transport, asyncio.Transport)
                assert isinstance(transport, asyncio.ReadTransport)
                assert isinstance(transport, asyncio.WriteTransport)
                assert issubclass(type(transport), asyncio.Transport)
                assert not transport.is_closing()
                assert transport.is_reading()

    run(loop, main())


def test_create_connection_returns_the_protocol_that_was_connected(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        async with serving(Echo) as served:
            transport, protocol = await loop.create_connection(factory, *served.address)
            assert made == [protocol]
            assert protocol.calls == ["connection_made"]
            assert protocol.transport is transport
            assert transport.get_protocol() is protocol
            transport.close()
            assert await protocol.lost is None

    run(loop, main())


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_callbacks_come_in_order_and_once(loop: asyncio.AbstractEventLoop, family: str) -> None:
    async def main() -> None:
        async with with_peer(Recorder, family) as (protocol, peer):
            await peer.send(b"first")
            assert await protocol.read(5) == b"first"
            peer.half_close()
            assert await protocol.lost is None
            assert protocol.calls == [
                "connection_made", "data_received", "eof_received", "connection_lost",
            ]  # fmt: skip

    run(loop, main())


def test_connection_made_in_server_precedes_data(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: asyncio.Future[Recorder] = loop.create_future()

        def factory() -> Recorder:
            made.set_result(Recorder())
            return made.result()

        with listen() as listener:
            with socket.create_connection(listener.getsockname()) as sock:
                sock.sendall(b"early")
                sock.shutdown(socket.SHUT_WR)
                server = await loop.create_server(factory, sock=listener)
                protocol = await made
                assert await protocol.lost is None
                assert bytes(protocol.buffer) == b"early"
                assert protocol.calls[0] == "connection_made"
                server.close()
                await server.wait_closed()

    run(loop, main())


def test_socket_is_a_transport_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            for transport in (client.transport, server.transport):
                sock = transport.get_extra_info("socket")
                assert isinstance(sock, TransportSocket)
                assert sock.family == socket.AF_INET
                assert sock.type == socket.SOCK_STREAM
                assert sock.fileno() >= 0
                assert sock.getsockname() == transport.get_extra_info("sockname")
                assert sock.gettimeout() == 0
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0

    run(loop, main())


def test_names_of_both_ends_agree(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            near, far = client.transport, server.transport
            assert near.get_extra_info("peername") == far.get_extra_info("sockname")
            assert far.get_extra_info("peername") == near.get_extra_info("sockname")
            assert near.get_extra_info("no such thing") is None
            assert near.get_extra_info("no such thing", "default") == "default"
        assert near.get_extra_info("peername") == far.get_extra_info("sockname")
        assert far.get_extra_info("peername") == near.get_extra_info("sockname")

    run(loop, main())


def test_peername_of_a_peer_that_is_gone_before_accept(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        made: asyncio.Future[Recorder] = loop.create_future()

        def factory() -> Recorder:
            made.set_result(Recorder())
            return made.result()

        with listen() as listener:
            sock = socket.create_connection(listener.getsockname())
            name = sock.getsockname()
            Peer(sock).reset()
            server = await loop.create_server(factory, sock=listener)
            protocol = await made
            transport = await protocol.made
            assert transport.get_extra_info("peername") == name
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert transport.get_extra_info("peername") == name
            server.close()
            await server.wait_closed()

    run(loop, main())


def test_nodelay_is_set_on_tcp(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with connected(Recorder, Recorder) as (client, server):
            for transport in (client.transport, server.transport):
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    run(loop, main())


def test_repr_in_every_state(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            transport = protocol.transport
            open_text = repr(transport)
            transport.close()
            closing_text = repr(transport)
            await protocol.lost
            closed_text = repr(transport)
        assert "clos" not in open_text.lower()
        assert "closing" in closing_text.lower()
        assert "clos" in closed_text.lower()

    run(loop, main())


def test_set_protocol_moves_data_and_the_end_to_the_new_one(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (first, peer):
            second = Recorder()
            await peer.send(b"one")
            assert await first.read(3) == b"one"
            first.transport.set_protocol(second)
            assert first.transport.get_protocol() is second
            await peer.send(b"two")
            assert await second.read(3) == b"two"
            peer.half_close()
            assert await second.lost is None
            assert not first.lost.done()
            assert second.calls == ["data_received", "eof_received", "connection_lost"]
            first.lost.set_result(None)  # what `with_peer` waits for

    run(loop, main())


def test_set_protocol_inside_data_received(loop: asyncio.AbstractEventLoop) -> None:
    """The next piece goes to the new protocol, however soon it comes."""

    class Greeter(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(successors[0])
            self.transport.write(b"go on")

    async def main() -> None:
        successor = Recorder()
        successors.append(successor)
        async with with_peer(Greeter) as (greeter, peer):
            await peer.send(b"hello")
            assert await peer.recv_exactly(5) == b"go on"
            await peer.send(b"more")
            assert await successor.read(4) == b"more"
            assert bytes(greeter.buffer) == b"hello"
            peer.close()
            await successor.lost
            greeter.lost.set_result(None)

    successors: list[Recorder] = []
    run(loop, main())


def test_connection_lost_is_not_called_from_inside_close(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with with_peer(Recorder) as (protocol, _peer):
            protocol.transport.close()
            assert protocol.transport.is_closing()
            assert not protocol.transport.is_reading()
            assert not protocol.lost.done()
            assert await protocol.lost is None

    run(loop, main())


def test_connection_lost_argument_for_a_reset(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        errors = capture_errors(loop)
        async with with_peer(Recorder) as (protocol, peer):
            await peer.send(b"x")
            await protocol.read(1)
            peer.reset()
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert "eof_received" not in protocol.calls
            assert protocol.transport.is_closing()
        assert errors == []

    run(loop, main())


def test_closing_twice_and_in_every_order(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for order in ("close close", "close abort", "abort close", "abort abort"):
            async with with_peer(Recorder) as (protocol, peer):
                for name in order.split():
                    getattr(protocol.transport, name)()
                assert await protocol.lost is None
                await turns()
                for name in order.split():
                    getattr(protocol.transport, name)()
                await turns()
                assert protocol.calls == ["connection_made", "connection_lost"], order
                assert await peer.recv() == b""

    run(loop, main())


def test_a_transport_that_nobody_holds_still_delivers(loop: asyncio.AbstractEventLoop) -> None:
    class Forgetful(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport = None
            self.made = loop.create_future()

    async def main() -> None:
        async with serving(Forgetful) as served:
            _, protocol = await loop.create_connection(Recorder, *served.address)
            gc.collect()
            await turns()
            protocol.transport.write(b"x" * 1000)
            protocol.transport.write_eof()
            assert await protocol.lost is None

    run(loop, main())


def test_transport_and_protocol_are_freed_after_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> tuple[weakref.ref[Recorder], weakref.ref[asyncio.Transport]]:
        async with with_peer(Recorder) as (protocol, peer):
            await peer.send(b"x")
            await protocol.read(1)
            references = weakref.ref(protocol), weakref.ref(protocol.transport)
        return references

    protocol, transport = run(loop, main())
    gc.collect()
    assert protocol() is None
    assert transport() is None


def test_debug_mode_serves_as_well(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connected(Recorder, Echo) as (client, _server):
            client.transport.write(b"x" * 100_000)
            await client.received(100_000)
            client.transport.pause_reading()
            client.transport.resume_reading()

    loop.set_debug(True)
    with caplog.at_level(logging.ERROR, "asyncio"):
        run(loop, main())
    assert caplog.records == []
