"""Cancelled sock_* operations: the descriptor is free at once, and nothing is lost.

Owns: cancellation before, while and after the kernel has done its part.
Thread: the test's own; peers block in worker threads.
Must not: sleep; the races are met by trying them many times.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.net import Peer, full_listener, listen, run, tcp_pair, turns
from tests.support.payload import MIB, digest, pattern

ROUNDS = 100


async def cancel(task: asyncio.Future[Any]) -> Any:
    """Cancel and wait: None if that was in time, else the result that came first."""
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_recv_cancelled_while_waiting(loop: asyncio.AbstractEventLoop, family: str) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair() if family == "tcp" else socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            peer = Peer(theirs)
            for number in range(ROUNDS):
                task = asyncio.ensure_future(loop.sock_recv(ours, 100))
                await turns(number % 3 + 1)
                assert await cancel(task) is None
                await peer.send(b"%04d" % number)
                assert await loop.sock_recv(ours, 100) == b"%04d" % number

    run(loop, main())


@pytest.mark.parametrize("later", range(4))
def test_recv_cancelled_as_the_data_comes(
    loop: asyncio.AbstractEventLoop, loop_kind: str, later: int
) -> None:
    """The message is there, and the loop has looked or not: who does not get it leaves it."""
    if later and loop_kind == "asyncio":
        pytest.skip("asyncio has received by then, for nobody")

    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            for number in range(ROUNDS):
                message = b"%04d" % number
                task = asyncio.ensure_future(loop.sock_recv(ours, 100))
                await turns(2)
                theirs.sendall(message)
                await turns(later)
                got = await cancel(task)
                assert later or got is None
                assert (got or await loop.sock_recv(ours, 100)) == message

    run(loop, main())


def test_recv_into_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    """After the cancellation nobody writes into the buffer any more, or holds it."""

    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            peer = Peer(theirs)
            for number in range(ROUNDS):
                buffer = bytearray(16)
                task = asyncio.ensure_future(loop.sock_recv_into(ours, buffer))
                await turns(number % 3 + 1)
                assert await cancel(task) is None
                await peer.send(b"%04d" % number)
                fresh = bytearray(16)
                assert await loop.sock_recv_into(ours, fresh) == 4
                assert fresh[:4] == b"%04d" % number
                assert buffer == bytes(16)
                del buffer[:]

    run(loop, main())


def test_recv_cancelled_and_another_started_in_the_same_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            for number in range(ROUNDS):
                first = asyncio.ensure_future(loop.sock_recv(ours, 100))
                await turns(2)
                first.cancel()
                second = asyncio.ensure_future(loop.sock_recv(ours, 100))
                await turns(number % 3)
                theirs.sendall(b"%04d" % number)
                assert await second == b"%04d" % number
                assert first.cancelled()

    run(loop, main())


def test_add_reader_right_after_a_cancelled_recv(loop: asyncio.AbstractEventLoop) -> None:
    """What users of `descriptor is used` errors ask for: the descriptor is theirs at once."""

    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            for number in range(ROUNDS):
                task = asyncio.ensure_future(loop.sock_recv(ours, 100))
                await turns(2)
                assert await cancel(task) is None
                readable = loop.create_future()
                loop.add_reader(ours, readable.set_result, None)
                theirs.sendall(b"%04d" % number)
                await readable
                assert loop.remove_reader(ours)
                assert ours.recv(100) == b"%04d" % number

    run(loop, main())


def test_a_transport_right_after_a_cancelled_recv(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with theirs:
            task = asyncio.ensure_future(loop.sock_recv(ours, 100))
            await turns(2)
            assert await cancel(task) is None
            reader, writer = await asyncio.open_connection(sock=ours)
            theirs.sendall(b"all of it")
            assert await reader.readexactly(9) == b"all of it"
            writer.close()
            await writer.wait_closed()

    run(loop, main())


def test_sendall_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    """What the peer has is a prefix of the data, and the socket sends what comes after."""

    async def main() -> None:
        data = pattern(16 * MIB)
        for rounds in range(10):
            ours, theirs = tcp_pair()
            ours.setblocking(False)
            with ours, theirs:
                task = asyncio.ensure_future(loop.sock_sendall(ours, data))
                await turns(rounds + 1)
                assert await cancel(task) is None
                reading = asyncio.ensure_future(Peer(theirs).recv_to_eof())
                await loop.sock_sendall(ours, b"after the cancelled one")
                ours.shutdown(socket.SHUT_WR)
                got = await reading
                assert got.endswith(b"after the cancelled one")
                sent = got[: -len(b"after the cancelled one")]
                assert digest(sent) == digest(data[: len(sent)])

    run(loop, main())


def test_accept_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with listen() as listener:
            listener.setblocking(False)
            for number in range(ROUNDS):
                task = asyncio.ensure_future(loop.sock_accept(listener))
                await turns(number % 3 + 1)
                assert await cancel(task) is None
                with socket.create_connection(listener.getsockname()) as client:
                    served, address = await loop.sock_accept(listener)
                    served.close()
                    assert address == client.getsockname()

    run(loop, main())


def test_accept_cancelled_as_the_connection_comes(loop: asyncio.AbstractEventLoop) -> None:
    """A connection is not accepted and dropped by an operation that nobody waits for."""

    async def main() -> None:
        with listen() as listener:
            listener.setblocking(False)
            for _ in range(ROUNDS):
                task = asyncio.ensure_future(loop.sock_accept(listener))
                await turns(2)
                with socket.create_connection(listener.getsockname()) as client:
                    assert await cancel(task) is None
                    served, address = await loop.sock_accept(listener)
                    assert address == client.getsockname()
                    client.sendall(b"!")
                    assert await loop.sock_recv(served, 1) == b"!"
                    served.close()

    run(loop, main())


def test_connect_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with full_listener("127.0.0.2") as address:
            for number in range(20):
                with socket.socket() as sock:
                    sock.setblocking(False)
                    task = asyncio.ensure_future(loop.sock_connect(sock, address))
                    await turns(number % 3 + 1)
                    assert await cancel(task) is None

    run(loop, main())


@pytest.mark.parametrize("name", ["recv", "accept", "connect", "sendall"])
def test_the_socket_closed_right_after_the_cancellation(
    loop: asyncio.AbstractEventLoop, name: str
) -> None:
    """Its number may be another's in the next moment: nothing of the old one may reach it."""

    async def main() -> None:
        with full_listener("127.0.0.2") as full:
            for _ in range(20):
                await cancel_and_close(full)
                await check_fresh_pair()

    async def cancel_and_close(full: tuple[str, int]) -> None:
        ours, theirs = tcp_pair()
        sockets = {"recv": ours, "sendall": ours, "accept": listen(), "connect": socket.socket()}
        for sock in sockets.values():
            sock.setblocking(False)
        operations: dict[str, Callable[[], Awaitable[object]]] = {
            "recv": lambda: loop.sock_recv(ours, 10),
            "sendall": lambda: loop.sock_sendall(ours, b"x" * 16 * MIB),
            "accept": lambda: loop.sock_accept(sockets["accept"]),
            "connect": lambda: loop.sock_connect(sockets["connect"], full),
        }
        task = asyncio.ensure_future(operations[name]())
        await turns(2)
        assert await cancel(task) is None
        for sock in (theirs, *sockets.values()):
            sock.close()

    async def check_fresh_pair() -> None:
        left, right = tcp_pair()
        left.setblocking(False)
        with left, right:
            receiving = asyncio.ensure_future(loop.sock_recv(left, 100))
            await turns(2)
            right.sendall(b"fresh")
            assert await receiving == b"fresh"

    run(loop, main())


def test_timeouts_one_after_the_other(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await loop.sock_recv(ours, 100)
                theirs.sendall(b"%04d" % number)
                assert await asyncio.wait_for(loop.sock_recv(ours, 100), 10) == b"%04d" % number

    run(loop, main())


def test_a_cancelled_sendall_lets_go_of_its_data(loop: asyncio.AbstractEventLoop) -> None:
    data = bytearray(16 * MIB)

    async def send(sock: socket.socket) -> None:
        try:
            await loop.sock_sendall(sock, data)
        finally:
            data.clear()  # BufferError while anybody looks into it

    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            task = asyncio.ensure_future(send(ours))
            await turns(2)
            assert await cancel(task) is None
            assert not data

    run(loop, main())


def test_a_closed_call_takes_nothing(loop: asyncio.AbstractEventLoop, loop_kind: str) -> None:
    if loop_kind == "asyncio":
        pytest.skip("asyncio goes on receiving for whoever is gone")

    async def main() -> None:
        ours, theirs = tcp_pair()
        ours.setblocking(False)
        with ours, theirs:
            for number in range(ROUNDS):
                call: Any = loop.sock_recv(ours, 100)
                call.send(None)
                await turns(number % 3)
                call.close()
                await turns(number % 2)
                theirs.sendall(b"%04d" % number)
                assert await asyncio.wait_for(loop.sock_recv(ours, 100), 10) == b"%04d" % number

    run(loop, main())


def test_an_interrupted_call_loses_nothing(
    loop: asyncio.AbstractEventLoop, loop_kind: str
) -> None:
    """asyncio makes the call again; ours is made by the task, which the interrupt ends."""

    class Interrupted(socket.socket):
        calls = 0

        def recv(self, *args: Any) -> bytes:
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().recv(*args)

    async def rest_of(task: asyncio.Task[bytes], sock: socket.socket) -> bytes:
        if loop_kind == "asyncio":
            return await asyncio.wait_for(task, 10)
        assert isinstance(task.exception(), KeyboardInterrupt)
        return await loop.sock_recv(sock, 100)

    ours, theirs = tcp_pair()
    with Interrupted(fileno=ours.detach()) as sock, theirs:
        sock.setblocking(False)
        task = loop.create_task(loop.sock_recv(sock, 100))
        run(loop, turns(2))
        theirs.sendall(b"data")
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert run(loop, rest_of(task, sock)) == b"data"
