"""create_datagram_endpoint: its parameters, what it refuses, and what it leaves when it fails.

Owns: options and their contradictions, lookups, several addresses, cancellation.
Thread: the test's own; a stand-in for socket.getaddrinfo runs where the loop runs the real one.
Must not: ask a name service.
"""

import asyncio
import logging
import socket
from typing import Any

import pytest

from tests.support.datagrams import ANY_PORT, DatagramRecorder, endpoint, name_of, udp_socket
from tests.support.net import run, since_python

NAME = "several-addresses.test"


async def refused(error: type[BaseException], match: str | None, **options: Any) -> None:
    with pytest.raises(error, match=match):
        async with endpoint(**options):
            pass


def test_the_family_alone(loop: asyncio.AbstractEventLoop) -> None:
    """An endpoint without an address: the kernel gives it one when it sends."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as server, endpoint(family=socket.AF_INET) as client:
            client.transport.sendto(b"x", name_of(server))
            assert await server.datagrams(1) == [b"x"]

    run(loop, main())


def test_family_proto_and_flags(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        proto = socket.IPPROTO_UDP
        async with endpoint(("localhost", 0), family=socket.AF_INET, proto=proto) as protocol:
            sock = protocol.transport.get_extra_info("socket")
            assert (sock.family, sock.proto) == (socket.AF_INET, proto)
        await refused(
            socket.gaierror, None, local_addr=("localhost", 0), flags=socket.AI_NUMERICHOST
        )

    run(loop, main())


def test_no_address_at_all(loop: asyncio.AbstractEventLoop) -> None:
    run(loop, refused(ValueError, "unexpected address family"))


@pytest.mark.parametrize("address", ["127.0.0.1", ["127.0.0.1", 0], ("::1", 0, 0, 0), 5], ids=repr)
def test_what_is_no_address(loop: asyncio.AbstractEventLoop, address: Any) -> None:
    async def main() -> None:
        await refused(TypeError, "2-tuple is expected", local_addr=address)
        await refused(TypeError, "2-tuple is expected", remote_addr=address)

    run(loop, main())


def test_an_address_in_use(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with udp_socket() as sock:
            await refused(OSError, "already in use", local_addr=sock.getsockname())

    run(loop, main())


def test_addresses_of_different_families(loop: asyncio.AbstractEventLoop) -> None:
    match = "can not get address information"
    run(loop, refused(ValueError, match, local_addr=ANY_PORT, remote_addr=("::1", 9)))


def test_reuse_port(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT, reuse_port=True) as one:
            async with endpoint(name_of(one), reuse_port=True) as other:
                assert name_of(one) == name_of(other)

    run(loop, main())


def test_allow_broadcast(loop: asyncio.AbstractEventLoop) -> None:
    """The socket may broadcast, and is not connected: anybody may answer."""

    async def main() -> None:
        async with (
            endpoint(("0.0.0.0", 0)) as server,
            endpoint(
                remote_addr=("127.255.255.255", name_of(server)[1]), allow_broadcast=True
            ) as client,
        ):
            sock = client.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
            assert client.transport.get_extra_info("peername") is None
            client.transport.sendto(b"everybody")
            await server.until(lambda: server.received)
            server.transport.sendto(b"me", server.received[0][1])
            await client.until(lambda: client.received)
            assert client.received == [(b"me", ("127.0.0.1", name_of(server)[1]))]

    run(loop, main())


def test_broadcasting_without_leave(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as protocol:
            protocol.transport.sendto(b"x", ("255.255.255.255", 9))
            assert [type(error) for error in protocol.errors] == [PermissionError]

    run(loop, main())


def test_a_socket_that_is_given(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with udp_socket() as given, udp_socket() as other:
            given.setblocking(True)
            async with endpoint(sock=given) as protocol:
                assert given.gettimeout() == 0
                protocol.transport.sendto(b"out", other.getsockname())
                assert await loop.sock_recvfrom(other, 9) == (b"out", given.getsockname())
            assert given.fileno() == -1

    run(loop, main())


def test_a_connected_socket_that_is_given(loop: asyncio.AbstractEventLoop) -> None:
    """Everything goes to its peer, whatever sendto is told."""

    async def main() -> None:
        with udp_socket() as given, udp_socket() as other:
            given.connect(other.getsockname())
            async with endpoint(sock=given) as protocol:
                assert protocol.transport.get_extra_info("peername") == other.getsockname()
                protocol.transport.sendto(b"none")
                protocol.transport.sendto(b"another", ("127.0.0.1", 9))
                assert await loop.sock_recv(other, 9) == b"none"
                assert await loop.sock_recv(other, 9) == b"another"

    run(loop, main())


def test_a_stream_that_is_given(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as stream:
            await refused(ValueError, "was expected, got", sock=stream)
            assert stream.fileno() >= 0

    run(loop, main())


@pytest.mark.parametrize(
    "option",
    [
        {"local_addr": ANY_PORT},
        {"remote_addr": ANY_PORT},
        {"family": 1},
        {"proto": 1},
        {"flags": 1},
        {"reuse_port": True},
        {"allow_broadcast": True},
    ],
    ids=lambda option: next(iter(option)),
)
def test_a_socket_and_what_makes_one(
    loop: asyncio.AbstractEventLoop, option: dict[str, Any]
) -> None:
    async def main() -> None:
        ((name, value),) = option.items()
        with udp_socket() as sock:
            with pytest.raises(ValueError, match="socket modifier keyword") as failure:
                async with endpoint(sock=sock, **option):
                    pass
            assert f"({name}={value})" in str(failure.value)
            assert sock.fileno() >= 0

    run(loop, main())


@pytest.mark.parametrize("usable", [0, 1, None])
def test_a_name_with_several_addresses(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, usable: int | None
) -> None:
    """The first address that can be bound is used; if there is none, the first error is told."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, port, *args, **options)
        addresses = [("192.0.2.1", 0), ("2001:db8::1", 0, 0, 0)]
        if usable is not None:
            addresses[usable] = [("127.0.0.1", 0), ("::1", 0, 0, 0)][usable]
        families = [socket.AF_INET, socket.AF_INET6]
        return [
            (family, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", address)
            for family, address in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    async def main() -> None:
        if usable is None:
            await refused(OSError, "assign requested address", local_addr=(NAME, 0))
            return
        async with endpoint((NAME, 0)) as protocol:
            assert name_of(protocol)[0] == ("127.0.0.1", "::1")[usable]

    run(loop, main())


def test_a_lookup_without_answer(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [])
    run(loop, refused(OSError, "returned empty list", local_addr=(NAME, 0)))


def test_cancelled_while_it_opens(loop: asyncio.AbstractEventLoop) -> None:
    """Whenever that is: no descriptor is left, and connection_lost follows connection_made."""
    made: list[DatagramRecorder] = []

    def factory() -> DatagramRecorder:
        made.append(DatagramRecorder())
        return made[-1]

    async def main() -> None:
        for turns in range(6):
            opening = asyncio.ensure_future(loop.create_datagram_endpoint(factory, ANY_PORT))
            for _ in range(turns):
                await asyncio.sleep(0)
            if opening.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await opening
            else:
                opening.result()[0].close()
        for protocol in made:
            assert await protocol.lost is None
            assert protocol.calls == ["connection_made", "connection_lost"]

    run(loop, main())
    assert made


def test_a_factory_that_raises(loop: asyncio.AbstractEventLoop) -> None:
    """A socket that was given stays the caller's."""

    def factory() -> DatagramRecorder:
        raise ZeroDivisionError

    async def main() -> None:
        with udp_socket() as sock:
            await refused(ZeroDivisionError, None, sock=sock, factory=factory)
            async with endpoint(sock=sock):
                pass

    run(loop, main())


@since_python(3, 13)
def test_sockets_of_other_types(loop: asyncio.AbstractEventLoop) -> None:
    """Anything but a stream, since 3.13; older ones took SOCK_DGRAM alone."""

    async def main() -> None:
        path = "\0loopx-test-packets"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.connect(path)
            theirs, _ = listener.accept()
            with theirs:
                async with endpoint(sock=ours) as protocol:
                    theirs.send(b"one")
                    theirs.send(b"two")
                    assert await protocol.datagrams(2) == [b"one", b"two"]
                    protocol.transport.sendto(b"three")
                    assert theirs.recv(9) == b"three"

    run(loop, main())


def test_netlink(loop: asyncio.AbstractEventLoop) -> None:
    """A family of which the loop knows nothing, with addresses of its own."""

    async def main() -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM) as sock:
            sock.bind((0, 0))
            name = sock.getsockname()
            async with endpoint(sock=sock) as protocol:
                assert name_of(protocol) == name
                # RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP: a header of 16 bytes, 1 of family.
                request = b"\x11\0\0\0\x12\0\x01\x03\x01\0\0\0\0\0\0\0\0\0\0\0"
                protocol.transport.sendto(request, (0, 0))
                await protocol.until(lambda: protocol.received)
                data, address = protocol.received[0]
                assert data[4:6] == b"\x10\0"  # RTM_NEWLINK
                assert address == (0, 0)

    run(loop, main())


def test_debug_mode_tells_of_it(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):

        async def main() -> None:
            async with (
                endpoint(ANY_PORT) as server,
                endpoint(remote_addr=name_of(server)) as client,
            ):
                client.transport.sendto(b"x")
                await server.datagrams(1)

        run(loop, main())
    told = [record for record in caplog.records if "Datagram endpoint" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.INFO, logging.DEBUG]
    assert "local_addr=('127.0.0.1', 0) remote_addr=None created" in told[0].getMessage()
