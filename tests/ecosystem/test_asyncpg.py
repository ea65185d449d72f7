"""PostgreSQL through asyncpg: queries, COPY, notifications, cancellation, large rows, pools, TLS.

Owns: connections to the run's server, each closed by the test that made it.
Thread: the loop's own.
Must not: leave a table behind; they are temporary.
"""

import asyncio
import io
import socket
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

asyncpg = pytest.importorskip("asyncpg")
TIME_LIMIT_S = 40.0


def target(server: Database, *, unix: bool = False) -> dict[str, Any]:
    """What asyncpg.connect and asyncpg.create_pool are given."""
    host = server.folder if unix else server.host
    options = {"host": host, "port": server.port, "user": server.user, "database": "postgres"}
    return {**options, "ssl": False}


@pytest.fixture(params=["tcp", "unix"])
def options(request: pytest.FixtureRequest, postgresql_server: Database) -> dict[str, Any]:
    return target(postgresql_server, unix=request.param == "unix")


def test_queries_and_transactions(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(**options)
        await connection.execute("CREATE TEMP TABLE item (id int PRIMARY KEY, name text)")
        names = [(number, f"name {number}") for number in range(1000)]
        await connection.executemany("INSERT INTO item VALUES ($1, $2)", names)
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("DELETE FROM item WHERE id = 5")
                await connection.execute("INSERT INTO item VALUES (7, 'again')")
        async with connection.transaction():
            rows = [tuple(row) async for row in connection.cursor("SELECT * FROM item ORDER BY id")]
        assert rows == names
        await connection.close()

    run(loop, main(), TIME_LIMIT_S)


def test_rows_of_10_mb(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    data = pattern(10 * MIB)

    async def main() -> None:
        connection = await asyncpg.connect(**options)
        for _ in range(3):
            back = await connection.fetchval("SELECT $1::bytea || $1::bytea", data)
            assert digest(back) == digest(data + data)
        await connection.close()

    run(loop, main(), TIME_LIMIT_S)


def test_copy_both_ways(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(**options)
        await connection.execute("CREATE TEMP TABLE item (id int, body text)")
        records = [(number, f"{number}" * 50) for number in range(50_000)]
        await connection.copy_records_to_table("item", records=records)
        output = io.BytesIO()
        await connection.copy_from_query("SELECT * FROM item ORDER BY id", output=output)
        lines = output.getvalue().decode().splitlines()
        assert lines == [f"{number}\t{body}" for number, body in records]

        async def source() -> Any:
            for line in lines:
                yield f"{line}\n".encode()

        await connection.copy_to_table("item", source=source())
        assert await connection.fetchval("SELECT count(*) FROM item") == 2 * len(records)
        await connection.close()

    run(loop, main(), TIME_LIMIT_S)


def test_notifications(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        listener, teller = [await asyncpg.connect(**options) for _ in range(2)]
        heard: asyncio.Queue[str] = asyncio.Queue()

        def hear(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
            heard.put_nowait(payload)

        await listener.add_listener("news", hear)
        for number in range(100):
            await teller.execute("SELECT pg_notify('news', $1)", str(number))
        assert [await heard.get() for _ in range(100)] == [str(number) for number in range(100)]
        await listener.remove_listener("news", hear)
        await listener.close()
        await teller.close()

    run(loop, main(), TIME_LIMIT_S)


def test_a_cancelled_query_is_over_on_the_server(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any]
) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(**options)
        watcher = await asyncpg.connect(**options)
        pid = connection.get_server_pid()
        state = "SELECT state FROM pg_stat_activity WHERE pid = $1"
        query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(600)"))
        while await watcher.fetchval(state, pid) != "active":
            pass
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        assert await connection.fetchval("SELECT 42") == 42
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(600)", timeout=0.05)
        assert await connection.fetchval("SELECT 43") == 43
        await connection.close()
        await watcher.close()

    run(loop, main(), TIME_LIMIT_S)


def test_a_pool_under_load(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(**options, min_size=2, max_size=8) as pool:

            async def double(number: int) -> int:
                async with pool.acquire() as connection:
                    return int(await connection.fetchval("SELECT 2 * $1::int", number))

            answers = await asyncio.gather(*map(double, range(500)))
            assert answers == [2 * number for number in range(500)]

    run(loop, main(), TIME_LIMIT_S)


def test_a_server_that_ends_the_connection(
    loop: asyncio.AbstractEventLoop, options: dict[str, Any]
) -> None:
    async def main() -> None:
        victim, killer = [await asyncpg.connect(**options) for _ in range(2)]
        query = asyncio.ensure_future(victim.execute("SELECT pg_sleep(600)"))
        await killer.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
        with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
            await query
        assert victim.is_closed()
        await killer.close()

    run(loop, main(), TIME_LIMIT_S)


def test_a_server_that_is_not_there(loop: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    async def main() -> None:
        with socket.socket() as bound:  # bound and not listening: refused
            bound.bind(("127.0.0.1", 0))
            with pytest.raises(OSError):
                await asyncpg.connect(host="127.0.0.1", port=bound.getsockname()[1], user="nobody")
        with pytest.raises(OSError):
            await asyncpg.connect(host=str(tmp_path), user="nobody")

    run(loop, main(), TIME_LIMIT_S)
