"""Reads of a NativeStreamReader: as asyncio's, but for their coroutines.

Owns: the comparison of both on the same events; reads as coroutines; when a reader stays asyncio's.
Thread: the test's own.
Must not: test what reaches the reader (test_streams_fed.py).
"""

import asyncio
import gc
import inspect
import socket
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopx._core import NativeStreamReader
from tests.support.children import run_python
from tests.support.net import only_on, run, turns

Loop = asyncio.AbstractEventLoop
on_loopx = only_on("loopx")
LIMIT = 4                          # less than half of some pieces

pieces = st.text("ab\n", max_size=12).map(str.encode)
counts = st.integers(-2, 12) | st.sampled_from([2**31, 2**70])
separators = st.sampled_from([b"\n", b"ab", b"bab", b"", bytearray(b"a"), (b"a", b"\n")])
reads = (
    st.tuples(st.sampled_from(["read", "readexactly"]), counts)
    | st.tuples(st.just("readuntil"), separators)
    | st.just(("readline",))
)
events = st.lists(
    reads
    | reads
    | st.tuples(st.just("feed_data"), pieces)
    | st.tuples(st.just("feed_data"), pieces)
    | st.sampled_from([("turn",), ("turn",), ("look",), ("cancel",), ("feed_eof",),
                       ("set_exception",)]),
    max_size=20,
)


class Pausable(asyncio.Transport):
    """Notes when it is told to pause and to resume."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


def native(reader: asyncio.StreamReader) -> asyncio.StreamReader:
    reader.__class__ = NativeStreamReader
    return reader


def outcome(task: "asyncio.Task[bytes]") -> Any:
    if not task.done():
        return "waits"
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    if error is None:
        return task.result()
    return type(error), error.args, getattr(error, "partial", None)


async def told_of(reader: Any, happens: list[tuple[Any, ...]]) -> list[Any]:
    """What reads end with, and what is left, when this happens in this order."""
    transport = Pausable()
    reader.set_transport(transport)
    tasks: list[asyncio.Task[bytes]] = []
    seen: list[Any] = []
    for name, *arguments in happens:
        if name == "turn":
            await turns(1)
        elif name == "look":               # which puts there what is not in it yet
            seen.append(len(reader._buffer))
        elif name == "cancel":
            if tasks:
                tasks[-1].cancel()
        elif name == "set_exception":
            reader.set_exception(ZeroDivisionError("test"))
        elif name == "feed_data":
            if not reader._eof:
                reader.feed_data(*arguments)
        elif name == "feed_eof":
            reader.feed_eof()
        elif not tasks or tasks[-1].done():   # one at a time, as asyncio asks for
            tasks.append(asyncio.ensure_future(getattr(reader, name)(*arguments)))
        seen.append((reader._paused, reader._waiter is None))
    await turns()
    seen += [outcome(task) for task in tasks]
    for task in tasks:
        task.cancel()
    await turns(3)
    return [*seen, bytes(reader._buffer), reader._waiter, transport.told]


@given(happens=events)
def test_the_same_as_asyncios(happens: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        expected = await told_of(asyncio.StreamReader(LIMIT, loop), happens)
        assert await told_of(native(asyncio.StreamReader(LIMIT, loop)), happens) == expected

    loop = asyncio.SelectorEventLoop()
    try:
        run(loop, main())
    finally:
        loop.close()


@pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline"])
def test_a_read_is_a_coroutine(loop: Loop, name: str) -> None:
    async def main() -> None:
        reader = native(asyncio.StreamReader(loop=loop))
        method = getattr(reader, name)
        arguments = (3,) if name in ("read", "readexactly") else ()
        assert asyncio.iscoroutinefunction(method) if hasattr(asyncio.coroutines, "_is_coroutine") \
            else inspect.iscoroutinefunction(method)
        assert inspect.signature(method) == inspect.signature(
            getattr(asyncio.StreamReader(loop=loop), name))
        assert method.__doc__ == getattr(asyncio.StreamReader, name).__doc__
        read = method(*arguments)
        assert asyncio.iscoroutine(read)
        assert inspect.isawaitable(read)
        with pytest.raises(TypeError, match="non-None value to a just-started"):
            read.send(1)
        task = loop.create_task(read)
        assert f"coro=<StreamReader.{name}" in repr(task)
        await turns(2)
        with pytest.raises(RuntimeError, match="awaited already"):
            await read
        reader.feed_data(b"ab\n")
        assert await asyncio.gather(task, asyncio.sleep(0, "other")) == [b"ab\n", "other"]
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await read
        with pytest.raises(RuntimeError, match="cannot reuse"):
            read.throw(ValueError)
        reader.feed_data(b"cd\n")
        assert await asyncio.wait_for(method(*arguments), 5) == b"cd\n"

    run(loop, main())


def test_one_that_is_closed_or_forgotten_waits_no_more(loop: Loop) -> None:
    async def main() -> None:
        reader: Any = native(asyncio.StreamReader(loop=loop))
        read = reader.readline()
        read.send(None)
        assert reader._waiter is not None
        read.close()
        assert reader._waiter is None
        read.close()
        read = reader.readline()
        read.send(None)
        del read
        gc.collect()
        assert reader._waiter is None
        reader.feed_data(b"kept\n")
        assert await reader.readline() == b"kept\n"

    run(loop, main())


def test_one_that_is_never_awaited_is_warned_of(loop: Loop) -> None:
    reader: Any = native(asyncio.StreamReader(loop=loop))
    with pytest.warns(RuntimeWarning, match="'StreamReader.readline' was never awaited"):
        reader.readline()
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.readline().close()
        gc.collect()


def thrown() -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The arguments of an exception, and what is handed to throw()."""
    return [
        ((), (KeyError,)),
        (("a",), (KeyError("a"),)),
        (("a",), (KeyError, "a")),
        (("a", "b"), (KeyError, ("a", "b"))),
        (("a",), (KeyError, KeyError("a"))),
        ((), (KeyError, None, None)),
    ]


class OtherBuffer(bytearray):
    """Which native reads do not look into."""


@pytest.mark.parametrize("buffer", [bytearray, OtherBuffer])
def test_what_ends_a_read_that_waits(loop: Loop, buffer: type[bytearray]) -> None:
    """Or one that asyncio's own coroutine goes on with."""

    async def main() -> None:
        reader: Any = native(asyncio.StreamReader(loop=loop))
        reader._buffer = buffer()

        def waiting() -> Any:
            read = reader.readline()
            read.send(None)
            assert reader._waiter is not None
            return read

        for arguments, handed in thrown():
            with pytest.raises(KeyError) as caught:
                waiting().throw(*handed)
            assert caught.value.args == arguments
            assert reader._waiter is None
        waiting().close()
        assert reader._waiter is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            task = loop.create_task(reader.readline())
            await turns(2)
            with pytest.raises(RuntimeError, match="called while another"):
                await reader.readline()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(loop, main())


def test_a_second_awaiter_after_data_came(loop: Loop) -> None:
    async def main() -> None:
        reader: Any = native(asyncio.StreamReader(loop=loop))
        read = reader.readline()
        task = loop.create_task(read)
        await turns(2)
        reader.feed_data(b"first\nsecond\n")
        with pytest.raises(RuntimeError, match="awaited already"):
            await read
        assert await task == b"first\n"

    run(loop, main())


@pytest.mark.parametrize("limit", [float("inf"), 3.5, 2**64, 3])
def test_limits_of_any_kind(loop: Loop, limit: Any) -> None:
    async def main() -> None:
        reader: Any = native(asyncio.StreamReader(limit, loop))
        reader.feed_data(b"abc\nabcd\n")
        assert await reader.readline() == b"abc\n"
        if limit < 4:
            with pytest.raises(ValueError, match="longer than limit"):
                await reader.readline()
        else:
            assert await reader.readline() == b"abcd\n"

    run(loop, main())


@on_loopx
def test_a_buffer_that_changes_while_the_limit_is_looked_up(loop: Loop) -> None:
    """A key of the reader's dictionary that is compared with `_limit` runs code of its own."""

    async def main() -> None:
        reader: Any = native(asyncio.StreamReader(2**16, loop))
        buffer = reader._buffer
        compared: list[Any] = []

        class Odd:
            def __hash__(self) -> int:
                return hash("_limit")

            def __eq__(self, other: object) -> bool:
                if not compared:
                    buffer.clear()
                compared.append(other)
                return False

        state = dict(vars(reader))
        vars(reader).clear()
        vars(reader)[Odd()] = None             # before `_limit`, which has the same hash
        vars(reader).update(state)
        buffer += b"line\n" * 1000
        compared.clear()
        task = asyncio.ensure_future(reader.readline())
        await turns(2)
        assert "_limit" in compared
        reader.feed_data(b"new\n")
        assert await task == b"new\n"

    run(loop, main())


@on_loopx
def test_a_read_that_is_replaced_too_late(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the connection is open: it is not called, nor taken for asyncio's own."""

    async def main() -> None:
        reader, writer, theirs = await connected(loop)
        monkeypatch.setattr(asyncio.StreamReader, "readline", lambda self: None)
        theirs.sendall(b"whole\npart")
        theirs.close()
        assert [await reader.readline() for _ in range(3)] == [b"whole\n", b"part", b""]
        writer.close()
        await writer.wait_closed()

    run(loop, main())


async def connected(loop: Loop) -> tuple[Any, Any, socket.socket]:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    return reader, writer, theirs


@pytest.mark.parametrize("debug", [False, True])
@on_loopx
def test_a_connections_reader_is_native(loop: Loop, debug: bool) -> None:
    """Other loops leave it as it is, and so does debug mode, which watches coroutines."""

    async def main() -> None:
        loop.set_debug(debug)
        reader, writer, theirs = await connected(loop)
        assert isinstance(reader, asyncio.StreamReader)
        assert type(reader) is (asyncio.StreamReader if debug else NativeStreamReader)
        assert repr(reader).startswith("<StreamReader transport=")
        theirs.sendall(b"first\nsecond\nrest")
        theirs.shutdown(socket.SHUT_WR)
        assert [line async for line in reader] == [b"first\n", b"second\n", b"rest"]
        assert reader.at_eof()
        writer.close()
        theirs.close()
        await writer.wait_closed()

    run(loop, main())


@pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline", "_wait_for_data"])
@on_loopx
def test_a_read_that_somebody_wrapped(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As instruments do: readers stay asyncio's."""
    original = getattr(asyncio.StreamReader, name)

    def wrapper(self: Any, *arguments: Any) -> Any:
        return original(self, *arguments)

    async def main() -> None:
        monkeypatch.setattr(asyncio.StreamReader, name, wrapper)
        reader, writer, theirs = await connected(loop)
        assert type(reader) is asyncio.StreamReader
        theirs.close()
        writer.close()
        await writer.wait_closed()

    run(loop, main())


CODE = """
import asyncio, loopx, socket
async def main():
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    print(type(reader).__name__)
    writer.close(); theirs.close()
loopx.run(main())
"""


@pytest.mark.parametrize(
    ("value", "said"),
    [("", "NativeStreamReader"), ("native", "NativeStreamReader"), ("asyncio", "StreamReader")],
)
def test_the_environment_chooses(value: str, said: str) -> None:
    done = run_python("-c", CODE, extra={"LOOPX_STREAMS": value})
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_nonsense_in_the_environment_names_the_variable() -> None:
    done = run_python("-c", CODE, extra={"LOOPX_STREAMS": "fast"})
    assert "LOOPX_STREAMS must be 'native' or 'asyncio', got 'fast'" in done.stderr
    assert done.returncode == 1
