"""PostgreSQL through psycopg 3, which waits for libpq's descriptor with add_reader, add_writer.

Owns: connections to the run's server, each closed by the test that made it.
Thread: the loop's own.
Must not: leave a table behind; they are temporary.
"""

import asyncio
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

psycopg = pytest.importorskip("psycopg")
TIME_LIMIT_S = 40.0


@pytest.fixture(params=["tcp", "unix"])
def target(request: pytest.FixtureRequest, postgresql_server: Database) -> str:
    server = postgresql_server
    host = server.folder if request.param == "unix" else server.host
    return f"host={host} port={server.port} user={server.user} dbname=postgres"


async def connect(target: str) -> Any:
    return await psycopg.AsyncConnection.connect(target, autocommit=True)


def test_queries_and_transactions(loop: asyncio.AbstractEventLoop, target: str) -> None:
    async def main() -> None:
        async with await connect(target) as connection:
            await connection.execute("CREATE TEMP TABLE item (id int PRIMARY KEY, name text)")
            names = [(number, f"name {number}") for number in range(500)]
            async with connection.cursor() as cursor:
                await cursor.executemany("INSERT INTO item VALUES (%s, %s)", names)
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with connection.transaction():
                    await connection.execute("DELETE FROM item WHERE id = 5")
                    await connection.execute("INSERT INTO item VALUES (7, 'again')")
            rows = await connection.execute("SELECT * FROM item ORDER BY id")
            assert await rows.fetchall() == names

    run(loop, main(), TIME_LIMIT_S)


def test_rows_of_10_mb(loop: asyncio.AbstractEventLoop, target: str) -> None:
    data = pattern(10 * MIB)

    async def main() -> None:
        async with await connect(target) as connection:
            for _ in range(3):
                rows = await connection.execute("SELECT %b::bytea || %b::bytea", (data, data))
                (back,) = await rows.fetchone()
                assert digest(back) == digest(data + data)

    run(loop, main(), TIME_LIMIT_S)


def test_copy_both_ways(loop: asyncio.AbstractEventLoop, target: str) -> None:
    async def main() -> None:
        async with await connect(target) as connection, connection.cursor() as cursor:
            await connection.execute("CREATE TEMP TABLE item (id int, body text)")
            records = [(number, f"{number}" * 50) for number in range(20_000)]
            async with cursor.copy("COPY item FROM STDIN") as copy:
                for record in records:
                    await copy.write_row(record)
            query = "COPY (SELECT * FROM item ORDER BY id) TO STDOUT"
            async with cursor.copy(query) as copy:
                copy.set_types(["int4", "text"])
                assert [row async for row in copy.rows()] == records

    run(loop, main(), TIME_LIMIT_S)


def test_notifications(loop: asyncio.AbstractEventLoop, target: str) -> None:
    async def main() -> None:
        async with await connect(target) as listener, await connect(target) as teller:
            await listener.execute("LISTEN news")

            async def tell() -> None:
                for number in range(100):
                    await teller.execute("SELECT pg_notify('news', %s)", (str(number),))

            telling = asyncio.ensure_future(tell())
            heard = []
            async for notification in listener.notifies(stop_after=100):
                heard.append(notification.payload)
                if len(heard) == 100:
                    break
            assert heard == [str(number) for number in range(100)]
            await telling

    run(loop, main(), TIME_LIMIT_S)


def test_a_cancelled_query_is_over_on_the_server(
    loop: asyncio.AbstractEventLoop, target: str
) -> None:
    async def main() -> None:
        async with await connect(target) as connection, await connect(target) as watcher:
            pid = connection.info.backend_pid

            async def active() -> bool:
                state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
                rows = await watcher.execute(state, (pid,))
                return bool(await rows.fetchone() == ("active",))

            query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(600)"))
            while not await active():
                pass
            query.cancel()
            with pytest.raises((asyncio.CancelledError, psycopg.errors.QueryCanceled)):
                await query
            rows = await connection.execute("SELECT 42")
            assert await rows.fetchone() == (42,)

            query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(600)"))
            while not await active():
                pass
            await connection.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                await query

    run(loop, main(), TIME_LIMIT_S)


def test_a_pipeline(loop: asyncio.AbstractEventLoop, target: str) -> None:
    async def main() -> None:
        async with await connect(target) as connection:
            async with connection.pipeline():
                cursors = [
                    await connection.execute("SELECT %s::int * 2", (number,))
                    for number in range(500)
                ]
            answers = [(await cursor.fetchone())[0] for cursor in cursors]
            assert answers == [2 * number for number in range(500)]

    run(loop, main(), TIME_LIMIT_S)


def test_connections_at_once(loop: asyncio.AbstractEventLoop, target: str) -> None:
    async def main() -> None:
        async def ask(number: int) -> int:
            async with await connect(target) as connection:
                rows = await connection.execute("SELECT %s::int * 2", (number,))
                return int((await rows.fetchone())[0])

        assert await asyncio.gather(*map(ask, range(40))) == [2 * each for each in range(40)]

    run(loop, main(), TIME_LIMIT_S)
