"""Datagram endpoints: what is sent arrives whole, in order, with its sender's address.

Owns: UDP over both families, connected and not; sizes; information; changing the protocol.
Thread: the test's own.
Must not: send more at once than a receive buffer holds; loopback loses nothing else.
"""

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

from tests.support.datagrams import (
    ANY_PORT,
    BURST,
    LARGEST_UDP_BYTES,
    DatagramRecorder,
    drain,
    endpoint,
    name_of,
    udp_socket,
)
from tests.support.net import only_on, run, since_python, turns
from tests.support.payload import pattern

hosts = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])


@hosts
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_both_ways(loop: asyncio.AbstractEventLoop, host: str, connected: bool) -> None:
    """More than one turn's worth of datagrams each way."""

    async def main() -> None:
        async with endpoint((host, 0)) as server:
            options: Any = {"remote_addr": name_of(server)[:2]} if connected else {}
            local = None if connected else (host, 0)
            async with endpoint(local, **options) as client:
                target = None if connected else name_of(server)
                sent = [b"%d" % number for number in range(BURST)]
                for data in sent:
                    client.transport.sendto(data, target)
                await server.until(lambda: len(server.received) == BURST)
                assert server.received == [(data, name_of(client)) for data in sent]
                for data, address in server.received:
                    server.transport.sendto(data * 2, address)
                assert await client.datagrams(BURST) == [data * 2 for data in sent]
                assert server.calls[0] == client.calls[0] == "connection_made"

    run(loop, main())


def test_the_address_may_be_given_in_any_way_a_socket_takes_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with endpoint(("::1", 0)) as server, endpoint(("::1", 0)) as client:
            port = name_of(server)[1]
            for address in (("::1", port), ("::1", port, 0), ("::1", port, 0, 0)):
                client.transport.sendto(b"x", address)
            client.transport.sendto(b"x", ("0:0:0:0:0:0:0:1", port, 5, 0))
            assert len(await server.datagrams(4)) == 4
        async with endpoint(ANY_PORT) as server, endpoint(ANY_PORT) as client:
            client.transport.sendto(b"by name", ("localhost", name_of(server)[1]))
            assert await server.datagrams(1) == [b"by name"]

    run(loop, main())


@pytest.mark.parametrize("size_bytes", [1, 1_472, 9_000, 65_000, LARGEST_UDP_BYTES])
def test_a_datagram_arrives_whole(loop: asyncio.AbstractEventLoop, size_bytes: int) -> None:
    async def main() -> None:
        async with (
            endpoint(ANY_PORT) as server,
            endpoint(remote_addr=name_of(server)) as client,
        ):
            data = pattern(size_bytes)
            for kind in (bytes, bytearray, memoryview):
                client.transport.sendto(kind(data))
                assert await server.datagrams(1) == [data]

    run(loop, main())


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_one_that_is_too_large(loop: asyncio.AbstractEventLoop, connected: bool) -> None:
    """error_received during sendto; the next one goes through."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as server:
            address = name_of(server)
            options: Any = {"remote_addr": address} if connected else {"local_addr": ANY_PORT}
            async with endpoint(**options) as client:
                client.transport.sendto(bytes(LARGEST_UDP_BYTES + 1), address)
                assert [error.errno for error in client.errors] == [errno.EMSGSIZE]
                assert not client.transport.is_closing()
                client.transport.sendto(b"next", address)
                assert await server.datagrams(1) == [b"next"]

    run(loop, main())


def test_an_empty_datagram(loop: asyncio.AbstractEventLoop) -> None:
    """A datagram like any other since Python 3.13; nothing before."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as server, endpoint(remote_addr=name_of(server)) as client:
            for kind in (bytes, bytearray, memoryview):
                client.transport.sendto(kind(b""))
            client.transport.sendto(b"end")
            empty = 3 if sys.version_info >= (3, 13) else 0
            assert await server.datagrams(empty + 1) == [b""] * empty + [b"end"]
            with udp_socket() as sock:  # receiving them works everywhere
                sock.sendto(b"", name_of(server))
                await server.until(lambda: server.received)
                assert server.received == [(b"", sock.getsockname())]

    run(loop, main())


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]], ids=repr)
def test_what_is_no_buffer(loop: asyncio.AbstractEventLoop, data: Any) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as protocol:
            with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                protocol.transport.sendto(data, name_of(protocol))
            protocol.transport.sendto(b"fine", name_of(protocol))
            assert await protocol.datagrams(1) == [b"fine"]

    run(loop, main())


def test_another_address_than_the_endpoints_own(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as server, endpoint(remote_addr=name_of(server)) as client:
            client.transport.sendto(b"the same", name_of(server))
            with pytest.raises(ValueError, match="Invalid address: must be None or"):
                client.transport.sendto(b"another", ANY_PORT)
            client.transport.sendto(b"none")
            assert await server.datagrams(2) == [b"the same", b"none"]

    run(loop, main())


def test_a_connected_endpoint_hears_its_peer_alone(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as server, endpoint(remote_addr=name_of(server)) as client:
            with udp_socket() as stranger:
                stranger.sendto(b"stranger", name_of(client))
                server.transport.sendto(b"peer", name_of(client))
                assert await client.datagrams(1) == [b"peer"]
                assert client.received == []

    run(loop, main())


@hosts
def test_information(loop: asyncio.AbstractEventLoop, host: str) -> None:
    async def main() -> None:
        async with (
            endpoint((host, 0)) as server,
            endpoint(remote_addr=name_of(server)[:2]) as client,
        ):
            sock = client.transport.get_extra_info("socket")
            assert isinstance(sock, asyncio.trsock.TransportSocket)
            assert sock.type == socket.SOCK_DGRAM
            assert name_of(client) == sock.getsockname()
            assert client.transport.get_extra_info("peername") == name_of(server)
            assert server.transport.get_extra_info("peername") is None
            assert client.transport.get_extra_info("missing", 5) == 5
            assert client.transport.get_write_buffer_size() == 0
            assert client.transport.get_write_buffer_limits() == (16384, 65536)
            for transport in (server.transport, client.transport):
                assert isinstance(transport, asyncio.Transport)
                assert not transport.is_closing()
                assert f"fd={transport.get_extra_info('socket').fileno()}" in repr(transport)
                assert "bufsize=0" in repr(transport)
        assert client.transport.is_closing()
        assert "closed" in repr(client.transport)

    run(loop, main())


@since_python(3, 12)
def test_it_is_a_datagram_transport(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as protocol:
            assert isinstance(protocol.transport, asyncio.DatagramTransport)

    run(loop, main())


def test_another_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as first:
            transport, address = first.transport, name_of(first)
            second = DatagramRecorder()
            assert transport.get_protocol() is first
            transport.sendto(b"to the first", address)
            assert await first.datagrams(1) == [b"to the first"]
            transport.set_protocol(second)
            assert transport.get_protocol() is second
            transport.sendto(b"to the second", address)
            assert await second.datagrams(1) == [b"to the second"]
            transport.close()
            assert await second.lost is None
            first.connection_lost(None)
            assert first.calls == ["connection_made", "datagram_received", "connection_lost"]

    run(loop, main())


def test_pausing(loop: asyncio.AbstractEventLoop) -> None:
    """Nothing comes while paused, everything after, also when paused by a datagram itself."""

    class Pausing(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"pause":
                self.transport.pause_reading()

    async def main() -> None:
        async with endpoint(ANY_PORT, Pausing) as protocol:
            with udp_socket() as sock:
                assert protocol.transport.is_reading()
                for data in (b"1", b"pause", b"2", b"pause", b"3"):
                    sock.sendto(data, name_of(protocol))
                assert await protocol.datagrams(2) == [b"1", b"pause"]
                await turns()
                assert protocol.received == []
                assert not protocol.transport.is_reading()
                protocol.transport.resume_reading()
                assert await protocol.datagrams(2) == [b"2", b"pause"]
                protocol.transport.pause_reading()
                protocol.transport.resume_reading()
                protocol.transport.resume_reading()
                assert await protocol.datagrams(1) == [b"3"]

    run(loop, main())


def test_a_flood_leaves_others_their_turns(loop: asyncio.AbstractEventLoop) -> None:
    """An endpoint that sends to itself with each datagram never runs dry."""

    class Endless(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(data, addr)

    async def main() -> None:
        async with endpoint(ANY_PORT, Endless) as busy, endpoint(ANY_PORT) as quiet:
            for _ in range(BURST):
                busy.transport.sendto(b"again", name_of(busy))
            await busy.datagrams(1000)
            with udp_socket() as sock:
                for number in range(10):
                    sock.sendto(b"%d" % number, name_of(quiet))
                    assert await quiet.datagrams(1) == [b"%d" % number]
            await asyncio.sleep(0.001)

    run(loop, main())


@only_on("loopx")
def test_a_non_contiguous_view_is_sent(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio closes the endpoint for it."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as protocol:
            protocol.transport.sendto(memoryview(b"a-b-c-")[::2], name_of(protocol))
            assert await protocol.datagrams(1) == [b"abc"]

    run(loop, main())


def test_what_was_received_is_the_protocols_own(loop: asyncio.AbstractEventLoop) -> None:
    """Later datagrams do not show in earlier ones, and a buffer sent may change at once."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as protocol:
            data = bytearray(b"first")
            protocol.transport.sendto(data, name_of(protocol))
            data[:] = b"other"
            protocol.transport.sendto(data, name_of(protocol))
            assert await protocol.datagrams(2) == [b"first", b"other"]

    run(loop, main())
