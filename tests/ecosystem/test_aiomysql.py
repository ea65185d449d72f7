"""MariaDB through aiomysql: queries, large rows, pools, cancellation.

Owns: connections to the run's server, each closed by the test that made it.
Thread: the loop's own.
Must not: leave a table behind; they are temporary.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

aiomysql = pytest.importorskip("aiomysql")
TIME_LIMIT_S = 40.0


@pytest.fixture(params=["tcp", "unix"])
def options(request: pytest.FixtureRequest, mariadb_server: Database) -> dict[str, Any]:
    server = mariadb_server
    login = {"user": "root", "db": "mysql", "autocommit": True}
    if request.param == "unix":
        return {**login, "unix_socket": f"{server.folder}/mariadb.sock"}
    return {**login, "host": server.host, "port": server.port}


@contextlib.asynccontextmanager
async def connected(options: dict[str, Any]) -> AsyncIterator[Any]:
    """A connection that says good-bye."""
    connection = await aiomysql.connect(**options)
    try:
        yield connection
    finally:
        await connection.ensure_closed()


async def fetch(connection: Any, query: str, *parameters: Any) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(query, parameters or None)
        return await cursor.fetchall()


def test_queries(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        async with connected(options) as connection:
            await fetch(connection, "CREATE TEMPORARY TABLE item (id INT PRIMARY KEY, name TEXT)")
            names = tuple((number, f"name {number}") for number in range(1000))
            async with connection.cursor() as cursor:
                await cursor.executemany("INSERT INTO item VALUES (%s, %s)", names)
            assert await fetch(connection, "SELECT * FROM item ORDER BY id") == names
            with pytest.raises(aiomysql.IntegrityError):
                await fetch(connection, "INSERT INTO item VALUES (7, 'again')")

    run(loop, main(), TIME_LIMIT_S)


def test_rows_of_10_mb(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    data = pattern(10 * MIB).hex().encode()[: 10 * MIB]

    async def main() -> None:
        async with connected(options) as connection:
            ((back,),) = await fetch(connection, "SELECT CONCAT(%s, 'end')", data.decode())
            assert digest(back.encode()) == digest(data + b"end")

    run(loop, main(), TIME_LIMIT_S)


def test_a_pool_under_load(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        async with aiomysql.create_pool(**options, minsize=2, maxsize=8) as pool:

            async def double(number: int) -> int:
                async with pool.acquire() as connection:
                    return int((await fetch(connection, "SELECT 2 * %s", number))[0][0])

            answers = await asyncio.gather(*map(double, range(300)))
            assert answers == [2 * number for number in range(300)]

    run(loop, main(), TIME_LIMIT_S)


def test_a_cancelled_query(loop: asyncio.AbstractEventLoop, options: dict[str, Any]) -> None:
    async def main() -> None:
        async with connected(options) as connection, connected(options) as other:
            query = asyncio.ensure_future(fetch(connection, "SELECT SLEEP(600)"))
            running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE %s"
            while not (await fetch(other, running, "SELECT SLEEP%%"))[0][0]:
                pass
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            assert connection.closed
            await fetch(other, f"KILL {connection.thread_id()}")
            assert await fetch(other, "SELECT 42") == ((42,),)

    run(loop, main(), TIME_LIMIT_S)
