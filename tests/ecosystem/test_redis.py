"""Redis through redis-py's asyncio client: commands, pipelines, pub/sub, blocking, large values.

Owns: clients of the run's server, each closed by the test that made it.
Thread: the loop's own.
Must not: depend on what another test stored; each begins with an empty server.
"""

import asyncio
from typing import Any

import pytest

from tests.support.databases import Database
from tests.support.net import run
from tests.support.payload import MIB, digest, pattern

redis = pytest.importorskip("redis.asyncio")
TIME_LIMIT_S = 40.0


@pytest.fixture(params=["tcp", "unix"])
def url(request: pytest.FixtureRequest, redis_server: Database) -> str:
    if request.param == "unix":
        return f"unix://{redis_server.folder}/redis.sock"
    return f"redis://{redis_server.host}:{redis_server.port}"


async def emptied(url: str) -> Any:
    client = redis.from_url(url)
    await client.flushall()
    return client


def test_commands_at_once(loop: asyncio.AbstractEventLoop, url: str) -> None:
    async def main() -> None:
        async with await emptied(url) as client:
            names = [f"key {number}" for number in range(80)]
            await asyncio.gather(*(client.set(name, name * 10) for name in names))
            values = await asyncio.gather(*map(client.get, names))
            assert values == [(name * 10).encode() for name in names]

    run(loop, main(), TIME_LIMIT_S)


def test_pipelines(loop: asyncio.AbstractEventLoop, url: str) -> None:
    async def main() -> None:
        async with await emptied(url) as client:
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(20_000):
                    pipeline.set(f"key {number}", number)
                    pipeline.get(f"key {number}")
                answers = await pipeline.execute()
            assert answers[1::2] == [str(number).encode() for number in range(20_000)]
            async with client.pipeline(transaction=True) as pipeline:
                await pipeline.watch("key 1")
                await client.set("key 1", "changed by somebody else")
                pipeline.multi()
                pipeline.set("key 1", "ours")
                with pytest.raises(redis.WatchError):
                    await pipeline.execute()

    run(loop, main(), TIME_LIMIT_S)


def test_published_messages(loop: asyncio.AbstractEventLoop, url: str) -> None:
    async def main() -> None:
        async with await emptied(url) as client, client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            messages = pubsub.listen()
            assert (await anext(messages))["type"] == "subscribe"
            for number in range(1000):
                assert await client.publish("news", number) == 1
            heard = [int((await anext(messages))["data"]) for _ in range(1000)]
            assert heard == list(range(1000))
            assert await pubsub.get_message(timeout=0.01) is None
            await messages.aclose()

    run(loop, main(), TIME_LIMIT_S)


def test_a_large_value(loop: asyncio.AbstractEventLoop, url: str) -> None:
    data = pattern(20 * MIB)

    async def main() -> None:
        async with await emptied(url) as client:
            await client.set("large", data)
            assert digest(await client.get("large")) == digest(data)

    run(loop, main(), TIME_LIMIT_S)


def test_a_cancelled_wait(loop: asyncio.AbstractEventLoop, url: str) -> None:
    """A client that was waiting for a list goes on being of use."""

    async def main() -> None:
        async with await emptied(url) as client:
            waiting = asyncio.ensure_future(client.blpop("list"))
            while not any(each["cmd"] == "blpop" for each in await client.client_list()):
                pass
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await client.rpush("other", "value")
            assert await client.blpop("other") in [(b"other", b"value"), [b"other", b"value"]]

    run(loop, main(), TIME_LIMIT_S)
