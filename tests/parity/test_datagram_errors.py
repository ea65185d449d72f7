"""Errors of datagram endpoints: the network's go to error_received, mistakes close the endpoint.

Owns: refusals (ICMP), errors of the address, sending after the end.
Thread: the test's own.
Must not: use an address outside of this machine.
"""

import asyncio
import logging
from typing import Any

import pytest

from tests.support.datagrams import (
    ANY_PORT,
    DatagramRecorder,
    endpoint,
    name_of,
    refusing_address,
    udp_socket,
)
from tests.support.net import capture_errors, run, turns


def test_refusals(loop: asyncio.AbstractEventLoop) -> None:
    """The endpoint lives on: when somebody comes to listen there, it is heard."""

    async def main() -> None:
        with udp_socket() as sock:
            address = sock.getsockname()
            sock.close()
            async with endpoint(remote_addr=address) as client:
                for count in range(1, 4):
                    client.transport.sendto(b"anybody?")
                    await client.until(lambda count=count: len(client.errors) >= count)
                assert {type(error) for error in client.errors} == {ConnectionRefusedError}
                assert not client.transport.is_closing()
                async with endpoint(address) as server:
                    client.transport.sendto(b"there you are")
                    assert await server.datagrams(1) == [b"there you are"]
                    server.transport.sendto(b"yes", name_of(client))
                    assert await client.datagrams(1) == [b"yes"]

    run(loop, main())


def test_a_refusal_met_by_the_next_send(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(remote_addr=refusing_address()) as client:
            client.transport.sendto(b"anybody?")
            client.transport.sendto(b"anybody?")
            assert [type(error) for error in client.errors] == [ConnectionRefusedError]

    run(loop, main())


def test_nobody_refuses_what_is_not_connected(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as client:
            client.transport.sendto(b"anybody?", refusing_address())
            client.transport.sendto(b"me", name_of(client))
            assert await client.datagrams(1) == [b"me"]
            assert client.errors == []

    run(loop, main())


def test_a_name_that_does_not_exist(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(("::1", 0)) as client:
            client.transport.sendto(b"x", ("127.0.0.1", 9))  # no address of this family
            client.transport.sendto(b"x", name_of(client))
            assert await client.datagrams(1) == [b"x"]
            assert len(client.errors) == 1
            assert isinstance(client.errors[0], OSError)

    run(loop, main())


@pytest.mark.parametrize(
    "address",
    [
        None,
        "127.0.0.1",
        (),
        ("127.0.0.1",),
        ("127.0.0.1", "9"),
        ("127.0.0.1", 70_000),
        ("127.0.0.1", -1),
        ("127.0.0.1", 1 << 70),
        ("127.0.0.1", 9, 0),
        ("127.0.0.1\0", 9),
        (b"127.0.0.1\0", 9),
        ("127.0.0.1\udc80", 9),
        (None, 9),
        (5, 9),
    ],
    ids=repr,
)
def test_what_is_no_address_closes_the_endpoint(
    loop: asyncio.AbstractEventLoop, address: Any
) -> None:
    """As what socket.sendto raises: told to the exception handler and to connection_lost."""
    errors = capture_errors(loop)

    async def main() -> None:
        async with endpoint(ANY_PORT) as client:
            try:
                with udp_socket() as sock:
                    sock.sendto(b"x", address)
            except OSError as error:  # not even a mistake
                client.transport.sendto(b"x", address)
                assert [type(told) for told in client.errors] == [type(error)]
                return
            except Exception as error:
                kind, text = type(error), str(error)
            client.transport.sendto(b"x", address)
            lost = await client.lost
            assert (type(lost), str(lost)) == (kind, text)
            assert [context["exception"] for context in errors] == [lost]
            assert errors[0]["message"] == "Fatal write error on datagram transport"
            assert errors[0]["transport"] is client.transport
            assert client.errors == []

    run(loop, main())


@pytest.mark.parametrize(
    "address",
    [
        ("::1",),
        ("::1", 9, -1),
        ("::1", 9, 1 << 20),
        ("::1", 9, 0, 0, 0),
        ("::1", 9, "0"),
        ("::1", 9, 0, None),
    ],
    ids=repr,
)
def test_what_is_no_ipv6_address(loop: asyncio.AbstractEventLoop, address: Any) -> None:
    errors = capture_errors(loop)

    async def main() -> None:
        async with endpoint(("::1", 0)) as client:
            with udp_socket("::1") as sock, pytest.raises((TypeError, OverflowError)) as raised:
                sock.sendto(b"x", address)
            client.transport.sendto(b"x", address)
            lost = await client.lost
            assert (type(lost), str(lost)) == (raised.type, str(raised.value))
            assert len(errors) == 1

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_sending_after_the_end(
    loop: asyncio.AbstractEventLoop, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint with a peer says nothing, but warns when it goes on; nothing is sent."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as server, endpoint(remote_addr=name_of(server)) as client:
            getattr(client.transport, ending)()
            for _ in range(6):
                client.transport.sendto(b"too late")
            assert await client.lost is None
            client.transport.sendto(b"much too late")
            await turns()
            assert server.received == []

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(loop, main())
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["socket.send() raised exception."] * 3


def test_sending_without_a_peer_right_after_closing(loop: asyncio.AbstractEventLoop) -> None:
    """The socket is still there until connection_lost, and takes it."""

    async def main() -> None:
        async with endpoint(ANY_PORT) as server, endpoint(ANY_PORT) as client:
            client.transport.close()
            client.transport.sendto(b"late", name_of(server))
            assert await server.datagrams(1) == [b"late"]
            assert await client.lost is None

    run(loop, main())


def test_sending_and_receiving_on_a_socket_closed_by_its_owner(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Sending is an error; another socket of the same number is left alone."""

    async def main() -> None:
        given = udp_socket()
        with given as sock, udp_socket() as other:
            async with endpoint(sock=sock) as client:
                name = sock.getsockname()
                sock.close()
                client.transport.sendto(b"x", other.getsockname())
                assert [type(error) for error in client.errors] == [OSError]
                with udp_socket() as another:
                    other.sendto(b"old", name)
                    other.sendto(b"new", another.getsockname())
                    await turns()
                    assert another.recv(9) == b"new"
                    assert client.received == []

    run(loop, main())


def test_error_received_as_inherited(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio.DatagramProtocol's own does nothing."""

    class Plain(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.lost = loop.create_future()

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async def main() -> None:
        transport, protocol = await loop.create_datagram_endpoint(
            Plain, remote_addr=refusing_address()
        )
        transport.sendto(b"x")
        await turns()
        transport.sendto(bytes(70_000))
        transport.close()
        assert await protocol.lost is None

    run(loop, main())


def test_the_errors_of_one_endpoint_are_not_anothers(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with endpoint(ANY_PORT) as server:
            clients: list[DatagramRecorder] = []
            async with (
                endpoint(remote_addr=refusing_address()) as refused,
                endpoint(remote_addr=name_of(server)) as heard,
            ):
                clients += [refused, heard]
                for client in clients:
                    client.transport.sendto(b"x")
                await refused.until(lambda: refused.errors)
                assert await server.datagrams(1) == [b"x"]
                assert heard.errors == []

    run(loop, main())
