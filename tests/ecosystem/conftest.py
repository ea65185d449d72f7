"""The fixtures of the ecosystem tests: the loops, the databases, and that no process is left.

Owns: one server of each database for the whole run, started when a test first asks for it.
Thread: the tests' own; the servers are processes of their own.
Must not: use a server that was there before, or leave one behind.
"""

from collections.abc import Iterator

import pytest

from tests.support.databases import Database, mariadb, postgresql, redis
from tests.support.loops import loop, loop_factory, loop_kind
from tests.support.processes import no_children

__all__ = ["loop", "loop_factory", "loop_kind", "no_children"]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Database]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Database]:
    with redis() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Database]:
    with mariadb() as server:
        yield server
