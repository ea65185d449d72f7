"""Names with several addresses: which is tried, in which order, and what is said if all fail.

Owns: happy eyeballs, interleave, all_errors, families.
Thread: the test's own; a stand-in for socket.getaddrinfo runs where the loop runs the real one.
Must not: wait for real time to pass; a dead address is one whose listener has a full queue.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.net import (
    Followed,
    finish,
    full_listener,
    run,
    serving,
    since_python,
    unused_port,
)
from tests.support.recorders import Echo, Recorder

NAME = "several-addresses.test"
Address = tuple[str, int]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Address]]:
    """The addresses that NAME resolves to; fill it in the test."""
    addresses: list[Address] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, port, *args, **options)
        wanted = args[0] if args else options.get("family", 0)
        return [info for info in map(entry, addresses) if wanted in (0, info[0])]

    def entry(address: Address) -> tuple[Any, ...]:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        name = (*address, 0, 0) if family == socket.AF_INET6 else address
        return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", name)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield addresses


@contextlib.asynccontextmanager
async def echo_server(host: str) -> Any:
    """An echo server on `host`; yields its address."""
    loop = asyncio.get_running_loop()
    followed = Followed(Echo)
    server = await loop.create_server(followed, host, 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await server.wait_closed()
        await followed.ended()


async def connect(**options: Any) -> Address:
    """Connect to NAME, exchange a message, close; returns the address that answered."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Recorder, NAME, 1, **options)
    client.transport.write(b"hello")
    assert await client.read(5) == b"hello"
    host, port = transport.get_extra_info("peername")[:2]
    transport.close()
    assert await client.lost is None
    return host, port


def test_the_next_address_after_a_refusal(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            resolver[:] = [("127.0.0.1", unused_port()), ("::1", unused_port()), served.address]
            assert await connect() == served.address

    run(loop, main())


@pytest.mark.parametrize("delay_s", [None, 0.05, 10.0])
def test_all_refused(
    loop: asyncio.AbstractEventLoop, resolver: list[Address], delay_s: float | None
) -> None:
    async def main() -> None:
        resolver[:] = [("127.0.0.1", unused_port()), ("::1", unused_port())]
        with pytest.raises(OSError, match="Multiple exceptions: ") as caught:
            await connect(happy_eyeballs_delay=delay_s)
        for _, port in resolver:
            assert str(port) in str(caught.value)

    run(loop, main())


def test_all_refused_with_the_same_words(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    """The same address twice: one error, not two of a kind."""

    async def main() -> None:
        resolver[:] = [("127.0.0.1", unused_port())] * 2
        with pytest.raises(ConnectionRefusedError):
            await connect()

    run(loop, main())


@since_python(3, 12)
@pytest.mark.parametrize("delay_s", [None, 10.0])
def test_all_errors(
    loop: asyncio.AbstractEventLoop, resolver: list[Address], delay_s: float | None
) -> None:
    async def main() -> None:
        resolver[:] = [("127.0.0.1", unused_port()), ("::1", unused_port())]
        with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
            await connect(all_errors=True, happy_eyeballs_delay=delay_s)
        errors = caught.value.exceptions
        assert [type(error) for error in errors] == [ConnectionRefusedError] * 2
        for error, (_, port) in zip(errors, resolver, strict=True):
            assert str(port) in str(error)

    run(loop, main())


@since_python(3, 12)
def test_all_errors_of_a_local_address(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        resolver[:] = [("127.0.0.1", unused_port()), ("::1", unused_port())]
        with pytest.raises(ExceptionGroup) as caught:
            await connect(all_errors=True, local_addr=("127.0.0.1", 0))
        refused, no_address = caught.value.exceptions
        assert isinstance(refused, ConnectionRefusedError)
        assert isinstance(no_address, OSError)

    run(loop, main())


def test_happy_eyeballs_with_a_dead_first_address(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        with full_listener("127.0.0.2") as dead:
            async with serving(Echo) as served:
                resolver[:] = [dead, served.address]
                before_s = loop.time()
                assert await connect(happy_eyeballs_delay=0.05) == served.address
                assert loop.time() - before_s >= 0.05

    run(loop, main())


def test_happy_eyeballs_prefers_the_first_that_answers(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        async with serving(Echo) as first, serving(Echo) as second:
            resolver[:] = [first.address, second.address]
            assert await connect(happy_eyeballs_delay=10.0) == first.address

    run(loop, main())


def test_happy_eyeballs_does_not_wait_after_a_refusal(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        async with serving(Echo) as served:
            resolver[:] = [("127.0.0.1", unused_port()), served.address]
            before_s = loop.time()
            assert await connect(happy_eyeballs_delay=15.0) == served.address
            assert loop.time() - before_s < 15.0

    run(loop, main())


def test_happy_eyeballs_with_only_dead_addresses(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    """Cancelled by a timeout: none of the attempts leaves a socket behind."""

    async def main() -> None:
        with full_listener("127.0.0.2") as one, full_listener("127.0.0.3") as other:
            resolver[:] = [one, other]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await connect(happy_eyeballs_delay=0.01)

    run(loop, main())


def test_interleave(loop: asyncio.AbstractEventLoop, resolver: list[Address]) -> None:
    """Of [4 refused, 4, 6] the IPv6 address comes second when families are interleaved."""

    async def main() -> None:
        async with echo_server("127.0.0.1") as four, echo_server("::1") as six:
            resolver[:] = [("127.0.0.1", unused_port()), four, six]
            assert await connect() == four
            assert await connect(interleave=0) == four
            assert await connect(interleave=1) == six
            assert await connect(interleave=2) == four
            assert await connect(happy_eyeballs_delay=10.0) == six
            assert await connect(happy_eyeballs_delay=10.0, interleave=0) == four

    run(loop, main())


def test_family_chooses_among_addresses(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        async with echo_server("127.0.0.1") as four, echo_server("::1") as six:
            resolver[:] = [four, six]
            assert await connect(family=socket.AF_INET6) == six
            assert await connect(family=socket.AF_INET) == four

    run(loop, main())


def test_local_addr_takes_the_address_of_its_family(
    loop: asyncio.AbstractEventLoop, resolver: list[Address]
) -> None:
    async def main() -> None:
        async with echo_server("127.0.0.1") as four, echo_server("::1") as six:
            resolver[:] = [six, four]
            assert await connect(local_addr=("127.0.0.4", 0)) == four

    run(loop, main())


def link_local_address() -> tuple[str, int, int, int] | None:
    """An address of this machine that needs a scope, on port 0."""
    for line in Path("/proc/net/if_inet6").read_text().splitlines():
        address, index, _, scope, *_ = line.split()
        if scope == "20":  # link
            return (socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)), 0, 0, int(index, 16))
    return None


def test_an_address_with_a_scope_is_shown_as_by_the_socket(loop: asyncio.AbstractEventLoop) -> None:
    """The scope is the fourth item, and no part of the host."""
    address = link_local_address()
    if address is None:
        pytest.skip("no interface has a link-local address")

    async def main() -> None:
        with socket.create_server(address, family=socket.AF_INET6) as listener:
            client = socket.socket(socket.AF_INET6)
            client.connect(listener.getsockname())
            names = (client.getsockname(), client.getpeername())
            _, protocol = await loop.create_connection(Recorder, sock=client)
            transport = protocol.transport
            shown = [transport.get_extra_info(name) for name in ("sockname", "peername")]
            assert tuple(shown) == names
            assert "%" not in names[1][0]
            await finish(protocol)

    run(loop, main())
