"""Servers for the integration tests.

`redis_server` and `postgres_server` are shared by the whole run: a test leaves them running, and
finds them as others left them (`redis_url` is emptied before each test, `postgres_database` is
fresh). A test that kills, freezes or configures its server starts its own: `own_redis`,
`own_postgres`, or the classes of `servers.py` with options.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis

from millpond import Engine
from millpond.tiers.redis import RedisTier
from tests.integration.faces import Face
from tests.integration.faults import FaultProxy
from tests.integration.leases import InFile, InPostgres, InRedis
from tests.integration.mills import Async, Sync
from tests.integration.servers import PgBouncer, PostgresServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millpond.io.redis_url import RedisSettings
    from tests.integration.faces import RedisFaces
    from tests.integration.leases import Place


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A redis-server for the whole run."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared redis-server, emptied."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the shared redis-server, which gives texts."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


@pytest.fixture
def proxy(redis_server: RedisServer, redis_url: str) -> Iterator[FaultProxy]:
    """A fault proxy before the shared redis-server."""
    with FaultProxy(redis_server) as proxy:
        yield proxy


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server for one test, which may do with it what it wants."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for the whole run."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a fresh, empty database of the shared PostgreSQL."""
    with postgres_server.database() as name:
        yield name


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_database: str) -> str:
    """The URL of a fresh, empty database of the shared PostgreSQL."""
    return postgres_server.url_of(postgres_database)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for one test, which may do with it what it wants."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A pgbouncer (transaction pooling) before the shared PostgreSQL."""
    with PgBouncer(postgres_server) as server:
        yield server


@pytest.fixture(params=[Sync(), Async()], ids=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(tier: str, request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Makes Engines that share the tier."""

    def made(**given: Any) -> Engine:
        if tier == "redis":
            return Engine(redis=request.getfixturevalue("redis_url"), database=False, **given)
        if tier == "postgresql":
            return Engine(database=request.getfixturevalue("postgres_url"), **given)
        return Engine(data_dir=str(request.getfixturevalue("tmp_path") / "data"), **given)

    return made


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """Where leases are: "redis", "sqlite", "postgresql" or "pgbouncer", as the test says."""
    if request.param == "redis":
        return InRedis(request.getfixturevalue("redis_url"))
    if request.param == "sqlite":
        return InFile(str(request.getfixturevalue("tmp_path") / "data"))
    server = request.getfixturevalue("postgres_server")
    database = request.getfixturevalue("postgres_database")
    if request.param == "postgresql":
        return InPostgres(server.url_of(database), server, database)
    pooler = request.getfixturevalue("pgbouncer")
    return InPostgres(f"pgbouncer {pooler.url_of(database)}", server, database)


@pytest.fixture
def mills(engine: Callable[..., Engine]) -> Iterator[tuple[Engine, Engine]]:
    with engine() as one, engine() as two:
        yield one, two


@pytest.fixture(params=["sync", "async"])
def redis_faces(request: pytest.FixtureRequest) -> Iterator[RedisFaces]:
    """Makes faces of Redis tiers, given their URL or settings, all closed afterwards."""
    tiers: list[RedisTier] = []
    runner = asyncio.Runner() if request.param == "async" else None

    def made(redis: str | RedisSettings, **options: Any) -> Face:
        tiers.append(RedisTier(redis, namespace="app", **options))
        return Face(tiers[-1], runner)

    yield made
    for tier in tiers:
        if runner:
            runner.run(tier.aclose())
        else:
            tier.close()
    if runner:
        runner.close()
