"""What is PostgreSQL's own about leases: old schemas, NOTIFY, and what others do meanwhile."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from millpond import Engine
from millpond.errors import TierError
from millpond.tiers.base import Lease
from millpond.tiers.postgres import PostgresTier, schema_sql
from tests.integration.servers import wait_until
from tests.integration.test_postgres_tier import entry, every_call, rows, soon
from tests.integration.test_postgres_watch import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.servers import PostgresServer

KEY = "app:f:1:a"


@pytest.fixture
def tiers(postgres_url: str) -> Iterator[list[PostgresTier]]:
    made = [PostgresTier(postgres_url, max_connections=4) for _ in range(2)]
    yield made
    for tier in made:
        tier.close()


@pytest.fixture
def tier(tiers: list[PostgresTier]) -> PostgresTier:
    return tiers[0]


class Waits:
    """Who waits for leases, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []
        self.ups: list[bool] = []

    def over(self, key: str, fence: int, outcome: str) -> None:
        self.told.append((key, fence, outcome))

    def up(self, yes: bool) -> None:
        self.ups.append(yes)


# ---- what is told


@pytest.mark.parametrize("outcome", ["landed", "none", "failed"])
def test_the_end_of_a_lease_is_told_to_who_found_it_taken(
    tiers: list[PostgresTier], outcome: str
) -> None:
    one, two = tiers
    waits = Waits()
    two.tell(waits)
    two.watch(Memory(), 5.0)
    wait_until(lambda: waits.ups == [True], "the second listens")
    fence = 1 << 61
    assert one.acquire(KEY, fence, 60.0, b"", soon()).state == "held"
    assert two.acquire(KEY, 2, 60.0, b"", soon()).state == "taken"
    if outcome == "landed":
        assert one.store([entry(KEY, fence=fence)], soon()) == [True]
    elif outcome == "none":
        guarded = entry(KEY, guard=1, fence=fence)
        assert one.store([guarded], soon()) == [False]
    else:
        assert one.release([(KEY, fence)], "failed", soon()) == [True]
    wait_until(lambda: waits.told, "it is told")
    assert waits.told == [(KEY, fence, outcome)]
    two.unwatch()
    assert waits.ups == [True, False]
    # It has been told, so it need not be told again.
    state = "landed" if outcome == "landed" else "held"
    assert two.acquire(KEY, 3, 60.0, b"", soon()).state == state
    assert waits.told == [(KEY, fence, outcome)]


def test_nobody_is_told_of_what_nobody_waits_for(
    tiers: list[PostgresTier], postgres_server: PostgresServer, postgres_database: str
) -> None:
    one, two = tiers
    one.open(soon())
    with postgres_server.connect(postgres_database) as listening:
        listening.execute("LISTEN millpond_millpond")
        one.acquire(KEY, 1, 60.0, b"", soon())
        # This one does not listen: it asks now and then.
        assert two.acquire(KEY, 2, 60.0, b"", soon()).state == "taken"
        one.store([entry(KEY, fence=1)], soon())
        one.acquire("other", 1, 60.0, b"", soon())
        one.release([("other", 1)], "failed", soon())
        listening.execute("NOTIFY millpond_millpond, 'last'")
        assert [note.payload for note in listening.notifies(stop_after=1)] == ["last"]


# ---- what others do meanwhile


def meanwhile(tier: PostgresTier, server: PostgresServer, database: str, script: str) -> Lease:
    """What the tier is told that asks for the lease while others are in a transaction."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with server.connect(database) as others, ThreadPoolExecutor(1) as pool:
        others.execute(f"BEGIN; {script}")  # type: ignore[call-overload]
        found = pool.submit(tier.acquire, KEY, 2, 60.0, b"", soon())
        wait_until(lambda: rows(server, database, waiting) == [(1,)], "it waits for the others")
        others.execute("COMMIT")
        return found.result()


ENTRY = f"""INSERT INTO millpond.entries VALUES
    ('{KEY}', 'theirs', 6, now() + interval '60 s', 0, 0)"""


@pytest.mark.parametrize("told", [False, True])
def test_a_value_that_lands_while_the_lease_is_asked_for_is_not_loaded_again(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str, told: bool
) -> None:
    """Others take a lease, store and end it: all that after the statement has begun."""
    tier.open(soon())
    tier._ends.told = told
    script = f"""{ENTRY};
        INSERT INTO millpond.leases VALUES ('{KEY}', 1, now() + interval '2 s', 0, false)"""
    found = meanwhile(tier, postgres_server, postgres_database, script)
    assert found == Lease("landed")


def test_a_lease_that_ends_while_it_is_marked_is_asked_for_again(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.acquire(KEY, 1, 60.0, b"", soon())
    tier._ends.told = True
    script = f"{ENTRY}; UPDATE millpond.leases SET outcome = 0"
    found = meanwhile(tier, postgres_server, postgres_database, script)
    assert found == Lease("landed")


def test_a_lease_that_was_taken_over_meanwhile_is_not_taken_twice(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.acquire(KEY, 1, 60.0, b"", soon())
    over = "UPDATE millpond.leases SET expires = now() - interval '1 s'"
    postgres_server.execute(over, postgres_database)
    script = "UPDATE millpond.leases SET fence = 3, expires = now() + interval '60 s'"
    found = meanwhile(tier, postgres_server, postgres_database, script)
    assert found[:2] == ("taken", 3)


def test_of_many_who_ask_at_once_one_gets_the_lease(tiers: list[PostgresTier]) -> None:
    for round_ in range(20):
        barrier = threading.Barrier(8)

        def ask(fence: int, key: str = f"{KEY}{round_}", start: Any = barrier) -> str:
            start.wait()
            return tiers[fence % 2].acquire(key, fence, 60.0, b"", soon()).state

        with ThreadPoolExecutor(8) as pool:
            states = list(pool.map(ask, range(1, 9)))
        assert sorted(states) == ["held"] + ["taken"] * 7


# ---- databases without


@pytest.fixture(params=["none", "others", "no right"])
def lacking(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, postgres_database: str
) -> Iterator[str]:
    """The URL of a database where leases cannot be kept, as one made before there were any."""
    postgres_server.execute(schema_sql(), postgres_database)
    postgres_server.execute("CREATE ROLE service LOGIN")
    granted = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA millpond TO service"
    how = {
        "none": f"DROP TABLE millpond.leases; {granted}",
        "others": f"ALTER TABLE millpond.leases DROP COLUMN awaited; {granted}",
        "no right": f"{granted}; REVOKE DELETE ON millpond.leases FROM service",
    }
    postgres_server.execute("GRANT USAGE ON SCHEMA millpond TO service", postgres_database)
    postgres_server.execute(how[request.param], postgres_database)
    yield postgres_server.url_of(postgres_database, "service")
    postgres_server.execute("DROP OWNED BY service", postgres_database)
    postgres_server.execute("DROP ROLE service")


def test_without_a_table_for_leases_all_else_works_and_that_is_said_once(
    lacking: str,
    postgres_server: PostgresServer,
    postgres_database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tier = PostgresTier(lacking)
    assert tier.acquire("app:f:1:b", 1, 60.0, b"", soon()) == Lease("absent")
    every_call(tier)
    assert tier.renew([("app:f:1:b", 1)], 60.0, soon()) == [False]
    assert tier.release([("app:f:1:b", 1)], "failed", soon()) == [False]
    # What carries a fence has no lease that stands.
    both = [entry("app:f:1:b", fence=1), entry("app:f:1:c")]
    assert tier.store(both, soon()) == [False, True]
    tier.close()
    tier.open(soon())
    tier.close()
    [record] = caplog.records
    assert record.levelname == "WARNING"
    said = record.getMessage()
    assert "do not wait for each other's loads" in said
    if "no table" in said:
        # The message has what is needed.
        needed = said.split("do:\n", 1)[1].replace("<the user>", "service")
        postgres_server.execute(needed, postgres_database)
        tier.open(soon())
        assert tier.acquire("app:f:1:b", 1, 60.0, b"", soon()).state == "held"
        tier.close()


def test_an_engine_loads_without_leases(lacking: str) -> None:
    with Engine(database=lacking) as one, Engine(database=lacking) as two:
        calls: list[int] = []

        def load(x: int) -> int:
            calls.append(x)
            return x

        functions = [mill.with_cache(namespace="test")(load) for mill in (one, two)]
        assert [function(1) for function in functions] == [1, 1]
        assert calls == [1], "values are shared"
        assert one.stats()["postgresql"]["errors"] == {}
        assert one.stats()["postgresql"]["leases"]["taken"] == 0


def test_a_table_of_leases_that_goes_meanwhile_costs_one_call_an_error(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    assert tier.acquire("k", 1, 60.0, b"", soon()).state == "held"
    postgres_server.execute("DROP TABLE millpond.leases", postgres_database)
    with pytest.raises(TierError) as caught:
        tier.store([entry("k", fence=1)], soon())
    assert caught.value.kind == "configuration"
    assert tier.acquire("k", 2, 60.0, b"", soon()) == Lease("absent")
    assert tier.store([entry("k")], soon()) == [True]


def test_ends_of_leases_are_purged_after_a_while(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    for key in "abc":
        tier.acquire(key, 1, 60.0, b"", soon())
    tier.release([("b", 1), ("c", 1)], "failed", soon())
    assert tier.purge(soon()).alone
    counted = "SELECT count(*) FROM millpond.leases"
    assert rows(postgres_server, postgres_database, counted) == [(3,)]
    postgres_server.execute(
        "UPDATE millpond.leases SET expires = now() - interval '11 s' WHERE key <> 'b'",
        postgres_database,
    )
    assert tier.purge(soon()).alone
    left = "SELECT key FROM millpond.leases"
    assert rows(postgres_server, postgres_database, left) == [("b",)]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_server_that_only_reads_has_no_leases(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str, way: str
) -> None:
    """And refuses nobody for that: a breaker would take its reads away."""
    tier.open(soon())
    postgres_server.execute(
        f"ALTER DATABASE {postgres_database} SET default_transaction_read_only = on"
    )
    tier.close()
    if way == "sync":
        found = tier.acquire(KEY, 1, 60.0, b"", soon())
    else:
        found = asyncio.run(tier.aacquire(KEY, 1, 60.0, b"", soon()))
    assert found == Lease("absent")
    postgres_server.execute(f"ALTER DATABASE {postgres_database} RESET ALL")
    tier.close()
    assert tier.acquire(KEY, 1, 60.0, b"", soon()).state == "held"


def test_nor_has_a_standby(own_postgres: PostgresServer) -> None:
    tier = PostgresTier(own_postgres.url)
    tier.write([entry(KEY)], soon())
    own_postgres.stop()
    (own_postgres.data / "standby.signal").touch()
    own_postgres.start()
    assert tier.fetch([KEY], [], soon()).data == [b"data"]
    for _ in range(3):
        assert tier.acquire("app:f:1:b", 1, 60.0, b"", soon()) == Lease("absent")
    tier.close()
