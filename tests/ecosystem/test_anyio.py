"""anyio's asyncio backend with `loop_factory`: tasks, streams, datagrams, processes, threads.

Owns: what each test opens, within anyio's own context managers.
Thread: the loop's own, and anyio's worker threads.
Must not: choose a port.
"""

import signal
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.certs import client_context, server_context
from tests.support.loops import LoopFactory
from tests.support.payload import MIB, digest, pattern

anyio = pytest.importorskip("anyio")
TIME_LIMIT_S = 40.0
Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture
def run(loop_factory: LoopFactory) -> Run:
    def limited(main: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            with anyio.fail_after(TIME_LIMIT_S):
                await main()

        anyio.run(bounded, backend="asyncio", backend_options={"loop_factory": loop_factory})

    return limited


async def echo(stream: Any) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def echo_through(stream: Any, data: bytes) -> None:
    """Send and receive at once."""
    back = bytearray()
    async with stream, anyio.create_task_group() as group:
        group.start_soon(stream.send, data)
        while len(back) < len(data):
            back += await stream.receive()
    assert digest(back) == digest(data)


def test_task_groups_and_cancel_scopes(run: Run) -> None:
    async def main() -> None:
        order: list[str] = []

        async def worker(name: str, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
            task_status.started(name)
            try:
                await anyio.sleep_forever()
            finally:
                order.append(name)

        with pytest.raises(BaseExceptionGroup) as failed:
            async with anyio.create_task_group() as group:
                assert await group.start(worker, "one") == "one"
                await group.start(worker, "two")
                raise KeyError("body")
        assert isinstance(failed.value.exceptions[0], KeyError)
        assert sorted(order) == ["one", "two"]
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught

    run(main)


@pytest.mark.parametrize("tls", [False, True])
def test_tcp(run: Run, tls: bool) -> None:
    async def main() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        if tls:
            listener = anyio.streams.tls.TLSListener(listener, server_context())
        options = {"tls": True, "ssl_context": client_context()} if tls else {}
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            for _ in range(3):
                stream = await anyio.connect_tcp("localhost", port, **options)
                await echo_through(stream, pattern(5 * MIB))
            group.cancel_scope.cancel()

    run(main)


@pytest.mark.logs_errors  # anyio's cancelled accept() has its future's result set once more
def test_unix_and_udp(run: Run) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory(prefix="lx") as folder:
            path = f"{folder}/socket"
            listener = await anyio.create_unix_listener(path)
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, echo)
                await echo_through(await anyio.connect_unix(path), pattern(MIB))
                group.cancel_scope.cancel()
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as server:
            port = server.extra(anyio.abc.SocketAttribute.local_port)
            async with await anyio.create_connected_udp_socket("127.0.0.1", port) as client:
                for number in range(50):
                    await client.send(b"%d" % number)
                    data, address = await server.receive()
                    await server.sendto(data, *address)
                    assert await client.receive() == b"%d" % number

    run(main)


def test_processes(run: Run) -> None:
    data = pattern(3 * MIB)

    async def main() -> None:
        done = await anyio.run_process(["cat"], input=data)
        assert digest(done.stdout) == digest(data)
        async with await anyio.open_process(["sleep", "600"]) as process:
            process.terminate()
            assert await process.wait() == -signal.SIGTERM
        with pytest.raises(FileNotFoundError):
            await anyio.run_process(["/nowhere/at all"])

    run(main)


def test_files_and_threads(run: Run, tmp_path: Any) -> None:
    async def main() -> None:
        path = anyio.Path(tmp_path) / "file"
        await path.write_bytes(pattern(MIB))
        async with await anyio.open_file(path, "rb") as file:
            assert digest(await file.read()) == digest(pattern(MIB))

        def in_a_thread() -> str:
            return str(anyio.from_thread.run(back_on_the_loop))

        async def back_on_the_loop() -> str:
            await anyio.sleep(0)
            return "back"

        assert await anyio.to_thread.run_sync(in_a_thread) == "back"

    run(main)


def test_signals(run: Run) -> None:
    async def main() -> None:
        with anyio.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
                signal.raise_signal(number)
                assert await anext(signals) is number

    run(main)


def test_a_portal_from_another_thread(loop_factory: LoopFactory) -> None:
    options = {"loop_factory": loop_factory}
    with anyio.from_thread.start_blocking_portal("asyncio", options) as portal:
        for number in range(200):
            assert portal.call(lambda value: value * 2, number) == 2 * number
        future = portal.start_task_soon(anyio.sleep_forever)
        assert future.cancel()
