"""Unix-domain streams: paths, abstract names, stale files, sockets handed in.

Owns: create_unix_server and create_unix_connection with their parameters.
Thread: the test's own.
Must not: leave a file outside the test's own folder, or an abstract name in use.
"""

import asyncio
import contextlib
import errno
import os
import pathlib
import socket
import stat
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support import certs
from tests.support.net import Followed, listen, run, since_python
from tests.support.payload import digest, pattern
from tests.support.recorders import Echo, Recorder


@pytest.fixture
def path() -> Iterator[str]:
    """A short path (a socket's may have 107 bytes) in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="lx") as folder:
        yield os.path.join(folder, "socket")


def abstract_name() -> str:
    return f"\0loopx-{uuid.uuid4()}"


@contextlib.asynccontextmanager
async def serving_unix(where: Any, **options: Any) -> AsyncIterator[asyncio.Server]:
    """An echo server on a path."""
    loop = asyncio.get_running_loop()
    followed = Followed(Echo)
    server = await loop.create_unix_server(followed, where, **options)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()
        await followed.ended()


async def echo_through(where: Any, data: bytes = b"hello") -> None:
    """Connect, exchange `data`, close."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(Recorder, where)
    client.transport.write(data)
    assert digest(await client.read(len(data))) == digest(data)
    client.transport.close()
    assert await client.lost is None


def test_kinds_of_paths(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        for where in (path, path.encode(), pathlib.Path(path)):
            async with serving_unix(where):
                assert stat.S_ISSOCK(os.stat(path).st_mode)
                await echo_through(path)
                await echo_through(path.encode())
                await echo_through(pathlib.Path(path), pattern(2_000_000))

    run(loop, main())


def test_abstract_names(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for where in (abstract_name(), abstract_name().encode()):
            async with serving_unix(where) as server:
                await echo_through(where)
                name = where if isinstance(where, bytes) else where.encode()
                assert server.sockets[0].getsockname() == name

    run(loop, main())


def test_extra_information(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        made: asyncio.Future[Recorder] = loop.create_future()

        def factory() -> Recorder:
            made.set_result(Recorder())
            return made.result()

        server = await loop.create_unix_server(factory, path)
        transport, client = await loop.create_unix_connection(Recorder, path)
        accepted = await (await made).made
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_extra_info("peername") == path
        assert transport.get_extra_info("sockname") == ""
        assert accepted.get_extra_info("sockname") == path
        assert accepted.get_extra_info("peername") == ""
        sock = accepted.get_extra_info("socket")
        assert sock.family == socket.AF_UNIX
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert int.from_bytes(credentials[:4], "little") == os.getpid()
        transport.close()
        await client.lost
        await made.result().lost
        server.close()
        await server.wait_closed()

    run(loop, main())


def test_a_stale_socket_is_replaced(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with listen(socket.AF_UNIX, path):
            pass
        assert os.path.exists(path)
        async with serving_unix(path):
            await echo_through(path)

    run(loop, main())


def test_a_file_in_the_way_is_left_alone(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        pathlib.Path(path).write_text("precious")
        with pytest.raises(OSError, match="is already in use") as caught:
            await loop.create_unix_server(Echo, path)
        assert caught.value.errno == errno.EADDRINUSE
        assert path in str(caught.value)
        assert pathlib.Path(path).read_text() == "precious"

    run(loop, main())


def test_an_abstract_name_in_use(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        name = abstract_name()
        async with serving_unix(name):
            with pytest.raises(OSError) as caught:
                await loop.create_unix_server(Echo, name)
            assert caught.value.errno == errno.EADDRINUSE

    run(loop, main())


def test_a_folder_that_is_not_there(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Echo, os.path.join(path, "socket"))
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, path)

    run(loop, main())


def test_a_path_that_is_too_long(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="too long"):
            await loop.create_unix_server(Echo, path + "x" * 200)
        with pytest.raises(OSError, match="too long"):
            await loop.create_unix_connection(Recorder, path + "x" * 200)

    run(loop, main())


def test_nobody_listens(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        with listen(socket.AF_UNIX, path):
            pass
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, path)

    run(loop, main())


@since_python(3, 13)
def test_close_removes_the_path(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serving_unix(path, cleanup_socket=True):
            assert os.path.exists(path)
        assert not os.path.exists(path)
        async with serving_unix(path, cleanup_socket=False):
            pass
        assert os.path.exists(path)

    run(loop, main())


def test_only_newer_pythons_remove_the_path_unasked(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    async def main() -> None:
        async with serving_unix(path):
            pass

    run(loop, main())
    assert os.path.exists(path) == (sys.version_info < (3, 13))


@since_python(3, 13)
def test_close_leaves_a_path_that_is_anothers_now(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    async def main() -> None:
        async with serving_unix(path, cleanup_socket=True):
            os.rename(path, path + ".old")  # keeps the inode's number in use
            with listen(socket.AF_UNIX, path):
                pass
        assert os.path.exists(path)

    run(loop, main())


@since_python(3, 13)
def test_close_after_the_path_is_gone(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serving_unix(path):
            os.unlink(path)

    run(loop, main())


@since_python(3, 13)
def test_close_removes_the_path_of_a_socket_handed_in(
    loop: asyncio.AbstractEventLoop, path: str
) -> None:
    async def main() -> None:
        sock = listen(socket.AF_UNIX, path)
        async with serving_unix(None, sock=sock, cleanup_socket=True):
            await echo_through(path)
        assert not os.path.exists(path)

    run(loop, main())


def test_sockets_handed_in(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serving_unix(None, sock=listen(socket.AF_UNIX, path)):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            _, client = await loop.create_unix_connection(Recorder, sock=sock)
            assert sock.gettimeout() == 0
            client.transport.write(b"hello")
            assert await client.read(5) == b"hello"
            client.transport.close()
            await client.lost

    run(loop, main())


def test_start_serving_later(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serving_unix(path, start_serving=False) as server:
            assert not server.is_serving()
            with pytest.raises(ConnectionRefusedError):
                await loop.create_unix_connection(Recorder, path)
            await server.start_serving()
            await echo_through(path)

    run(loop, main())


def test_many_clients(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serving_unix(path, backlog=200):
            await asyncio.gather(*(echo_through(path, b"%04d" % n) for n in range(150)))

    run(loop, main())


def test_tls_over_a_unix_socket(loop: asyncio.AbstractEventLoop, path: str) -> None:
    async def main() -> None:
        async with serving_unix(path, ssl=certs.server_context()):
            _, client = await loop.create_unix_connection(
                Recorder, path, ssl=certs.client_context(), server_hostname=certs.HOSTNAME
            )
            client.transport.write(b"secret")
            assert await client.read(6) == b"secret"
            client.transport.close()
            await client.lost

    run(loop, main())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, ValueError),
        ({"path": "/x", "sock": "unix"}, ValueError),
        ({"sock": "tcp"}, ValueError),
        ({"sock": "datagram"}, ValueError),
        ({"path": "/x", "ssl": True}, TypeError),
        ({"path": "/x", "ssl_handshake_timeout": 1}, ValueError),
        ({"path": "/x", "ssl_shutdown_timeout": 1}, ValueError),
    ],
)
def test_server_options_that_make_no_sense(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any], kind: type[Exception]
) -> None:
    async def main() -> None:
        with given(options) as arguments:
            with pytest.raises(kind):
                await loop.create_unix_server(Echo, **arguments)

    run(loop, main())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"path": "/x", "sock": "unix"},
        {"sock": "tcp"},
        {"sock": "datagram"},
        {"path": "/x", "ssl": True},
        {"path": "/x", "server_hostname": "x"},
        {"path": "/x", "ssl_handshake_timeout": 1},
        {"path": "/x", "ssl_shutdown_timeout": 1},
    ],
)
def test_client_options_that_make_no_sense(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any]
) -> None:
    async def main() -> None:
        with given(options) as arguments:
            with pytest.raises(ValueError):
                await loop.create_unix_connection(Recorder, **arguments)

    run(loop, main())


@contextlib.contextmanager
def given(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`options` with a real socket in place of its description."""
    sockets = {
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
        "tcp": (socket.AF_INET, socket.SOCK_STREAM),
        "datagram": (socket.AF_UNIX, socket.SOCK_DGRAM),
    }
    if "sock" not in options:
        yield options
        return
    with socket.socket(*sockets[options["sock"]]) as sock:
        yield {**options, "sock": sock}
