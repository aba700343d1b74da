"""What is PostgreSQL's own about its tier: the schema, rights, the purge, and the clock."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond.errors import ConfigurationError, TierError, UnsupportedError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry
from millpond.tiers.postgres import PostgresTier, schema_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.servers import PostgresServer

HOUR = 3600 * 10**6


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds)


def entry(key: str = "app:f:1:a", data: bytes = b"data", ttl: float = 60.0, **more: Any) -> Entry:
    return Entry(key, data, ttl, **more)


@pytest.fixture
def tier(postgres_url: str) -> Iterator[PostgresTier]:
    tier = PostgresTier(postgres_url, max_connections=4)
    yield tier
    tier.close()


def rows(server: PostgresServer, database: str, statement: str) -> list[Any]:
    with server.connect(database) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[call-overload]


# ---- options


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("schema", "My-Schema"),
        ("schema", "x; DROP TABLE users"),
        ("timeout", 0),
        ("max_ttl", float("inf")),
        ("max_bytes", 0),
        ("max_connections", 0),
        ("purge_every", 0),
    ],
)
def test_an_option_outside_what_is_allowed_is_named(option: str, given: Any) -> None:
    options: dict[str, Any] = {option: given}
    with pytest.raises(ConfigurationError, match=rf"^{option}="):
        PostgresTier("postgresql://localhost/none", **options)


def test_a_connection_string_that_is_none_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="connection string") as caught:
        PostgresTier("postgresql://app:secret@host:port/name?nonsense=1")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


# ---- the schema


def test_the_schema_is_made_once_by_many_at_once(
    postgres_url: str, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tiers = [PostgresTier(postgres_url, max_connections=1) for _ in range(12)]
    start = threading.Barrier(len(tiers))
    failed: list[Exception] = []

    def work(tier: PostgresTier) -> None:
        start.wait()
        try:
            assert tier.store([entry(f"k:{id(tier)}")], soon(20)) == [True]
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(tier,)) for tier in tiers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tier in tiers:
        tier.close()
    assert failed == []
    counted = "SELECT count(*) FROM millpond.about"
    assert rows(postgres_server, postgres_database, counted) == [(1,)]


def test_a_schema_of_others_is_left_as_it_is(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    postgres_server.execute(
        "CREATE SCHEMA millpond; CREATE TABLE millpond.entries (key text, mine int)",
        postgres_database,
    )
    with pytest.raises(TierError, match="entries has no column data") as caught:
        tier.open(soon())
    assert caught.value.kind == "configuration"
    assert "CREATE TABLE" in str(caught.value)
    tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'millpond'"
    assert rows(postgres_server, postgres_database, tables) == [("entries",)]
    other = PostgresTier(str(tier_url(postgres_server, postgres_database)), schema="other_1")
    assert other.store([entry()], soon()) == [True]
    other.close()


def tier_url(server: PostgresServer, database: str) -> str:
    return server.url_of(database)


def test_another_version_is_left_as_it_is(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.store([entry()], soon())
    postgres_server.execute("UPDATE millpond.about SET version = 2", postgres_database)
    tier.close()
    with pytest.raises(TierError, match="has version 2, and this millpond works with 1") as caught:
        tier.fetch(["k"], [], soon())
    assert caught.value.kind == "configuration"


def test_nothing_is_made_where_it_is_not_to_be(
    postgres_url: str, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier = PostgresTier(postgres_url, create_schema=False)
    with pytest.raises(TierError, match="create_schema=False") as caught:
        tier.open(soon())
    assert caught.value.kind == "configuration"
    # The message has what is needed.
    statements = str(caught.value).split("once:\n", 1)[1]
    assert statements == schema_sql()
    postgres_server.execute(statements, postgres_database)
    tier.open(soon())
    assert tier.store([entry()], soon()) == [True]
    tier.close()


def test_the_least_rights_suffice(postgres_server: PostgresServer, postgres_database: str) -> None:
    postgres_server.execute("CREATE ROLE service LOGIN")
    try:
        tier = PostgresTier(postgres_server.url_of(postgres_database, "service"))
        with pytest.raises(TierError, match="may not make it") as caught:
            tier.open(soon())
        assert caught.value.kind == "configuration"
        postgres_server.execute(schema_sql(), postgres_database)
        with pytest.raises(TierError, match="permission denied") as caught:
            tier.open(soon())
        assert caught.value.kind == "configuration"
        # What docs/guide/postgresql.md says.
        postgres_server.execute(
            "GRANT USAGE ON SCHEMA millpond TO service;"
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA millpond TO service",
            postgres_database,
        )
        every_call(tier)
        assert tier.acquire("app:f:1:l", 1, 60.0, b"", soon()).state == "held"
        assert tier.renew([("app:f:1:l", 1)], 60.0, soon()) == [True]
        assert tier.release([("app:f:1:l", 1)], "failed", soon()) == [True]
        tier.close()
    finally:
        postgres_server.execute("DROP OWNED BY service", postgres_database)
        postgres_server.execute("DROP ROLE service")


def every_call(tier: PostgresTier) -> None:
    tier.open(soon())
    assert tier.store([entry()], soon()) == [True]
    tier.write([entry()], soon())
    assert tier.fetch(["app:f:1:a"], ["n"], soon()).data == [b"data"]
    assert tier.inspect("app:f:1:a", soon()) is not None
    assert list(tier.scan("app:", soon())) == [["app:f:1:a"]]
    assert tier.stamp(["n"], soon()) < tier.bump(["n"], soon())
    assert tier.incr("c", 1, 60, soon()) == 1
    assert tier.changes(0, soon()).names.keys() == {"n"}
    assert tier.delete(["app:f:1:a"], soon()) == [True]
    assert tier.erase(["app:f:1:a"], soon()) == 0
    assert tier.purge(soon()).alone


def test_tables_that_were_dropped_are_made_again(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.store([entry()], soon())
    postgres_server.execute("DROP SCHEMA millpond CASCADE", postgres_database)
    with pytest.raises(TierError) as caught:
        tier.fetch(["app:f:1:a"], [], soon())
    assert caught.value.kind == "configuration"
    assert tier.fetch(["app:f:1:a"], [], soon()).data == [None]
    assert tier.store([entry()], soon()) == [True]


# ---- what the server refuses


@pytest.mark.parametrize(
    ("user", "database", "kind"),
    [("postgres", "nowhere", "configuration"), ("nobody_there", "postgres", "configuration")],
)
def test_a_log_in_that_is_refused_is_a_matter_of_configuration(
    postgres_server: PostgresServer, user: str, database: str, kind: str
) -> None:
    tier = PostgresTier(postgres_server.url_of(database, user, password="secret"))
    with pytest.raises(TierError, match="does not exist") as caught:
        tier.fetch(["k"], [], soon())
    assert caught.value.kind == kind
    assert caught.value.tier == "postgresql"
    assert "secret" not in str(caught.value)


def test_a_server_that_only_reads_is_not_ready(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.store([entry()], soon())
    postgres_server.execute(
        f"ALTER DATABASE {postgres_database} SET default_transaction_read_only = on"
    )
    tier.close()
    assert tier.fetch(["app:f:1:a"], [], soon()).data == [b"data"]
    for _ in range(3):  # Prepared it is the first time, though refused.
        with pytest.raises(TierError, match="25006") as caught:
            tier.bump(["n"], soon())
        assert caught.value.kind == "not_ready"


# ---- entries


def test_one_key_twice_in_a_call_is_its_last(tier: PostgresTier) -> None:
    assert tier.store([entry(data=b"1"), entry(data=b"2")], soon()) == [True, True]
    assert tier.fetch(["app:f:1:a"], [], soon()).data == [b"2"]
    tier.write([entry(data=b"3"), entry(data=b"4")], soon())
    assert tier.fetch(["app:f:1:a"], [], soon()).data == [b"4"]


def test_batches_in_any_order_do_not_lock_each_other_out(tier: PostgresTier) -> None:
    keys = [f"app:f:1:{number}" for number in range(50)]
    failed: list[Exception] = []

    def work(order: int) -> None:
        try:
            for _ in range(20):
                tier.write([entry(key) for key in keys[::order]], soon())
                tier.bump(keys[::order], soon())
                tier.delete(keys[::-order], soon())
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# ---- the purge


def age(server: PostgresServer, database: str, where: str, hours: float) -> None:
    """Let rows be from some hours ago."""
    server.execute(
        f"UPDATE millpond.entries SET expires = expires - interval '{hours} hours',"
        f" guard = CASE WHEN guard > 0 THEN guard - {hours} * {HOUR} ELSE 0 END WHERE {where}",
        database,
    )


def test_the_purge_removes_what_is_over_and_keeps_guards_that_count(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.store([entry(f"filled:{number}") for number in range(2500)], soon())
    tier.write([entry("written"), entry("recent"), entry("live")], soon())
    tier.delete(["deleted"], soon())
    guard = tier.fetch(["recent"], [], soon()).guards[0]
    age(postgres_server, postgres_database, "key LIKE 'filled:%'", 2)
    age(postgres_server, postgres_database, "key IN ('written', 'deleted')", 2)
    postgres_server.execute(
        "UPDATE millpond.entries SET expires = now() WHERE key = 'recent'", postgres_database
    )
    purged = tier.purge(soon())
    assert purged.expired == 2503
    assert purged.alone
    left = rows(
        postgres_server,
        postgres_database,
        "SELECT key, data IS NULL, size FROM millpond.entries ORDER BY key",
    )
    assert [(key, empty) for key, empty, _ in left] == [("live", False), ("recent", True)]
    assert left[1][2] == 0
    assert tier.fetch(["recent"], [], soon()).guards == [guard]
    assert tier.purge(soon()).expired == 0


def test_a_stamp_that_was_purged_is_never_given_again(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    tier.delete(["k"], soon())
    # As if the clock had been an hour ahead when it was given, and three when it is purged.
    postgres_server.execute(
        f"UPDATE millpond.about SET floor = {tier.now() + 5 * HOUR}", postgres_database
    )
    bumped = tier.bump(["n"], soon())[0]
    assert bumped > tier.now() + 4 * HOUR
    small = PostgresTier(tier_url(postgres_server, postgres_database), max_generations=1)
    tier.bump(["other"], soon())
    assert small.purge(soon()).generations == 1
    small.close()
    ((floor,),) = rows(postgres_server, postgres_database, "SELECT floor FROM millpond.about")
    assert floor >= bumped
    assert tier.stamp(["n"], soon())[0] > bumped


@pytest.mark.parametrize("bound", [{"max_entries": 40}, {"max_bytes": 40 * 1115}])
def test_the_purge_keeps_to_the_bounds_and_to_what_lives_longest(
    postgres_url: str, bound: dict[str, int]
) -> None:
    tier = PostgresTier(postgres_url, **bound)  # type: ignore[arg-type]
    tier.store([entry(f"long:{n:03}", b"x" * 1000, ttl=100) for n in range(30)], soon())
    tier.store([entry(f"short:{n:03}", b"x" * 1000, ttl=50 + n / 10) for n in range(30)], soon())
    assert tier.purge(soon()).evicted == 20
    left = [key for batch in tier.scan("", soon()) for key in batch]
    assert left == [f"long:{n:03}" for n in range(30)] + [f"short:{n:03}" for n in range(20, 30)]
    assert tier.purge(soon()).evicted == 0
    tier.close()


def test_one_process_at_a_time_purges(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    from millpond.io.postgres.schema import lock_id

    tier.store([entry(ttl=0.001)], soon())
    with postgres_server.connect(postgres_database) as other:
        other.execute("SELECT pg_advisory_lock(%s::bigint)", (lock_id("millpond") + 1,))
        purged = tier.purge(soon())
        assert (purged.expired, purged.alone) == (0, False)
    limit = time.monotonic() + 5
    while tier.purge(soon()).expired == 0:
        assert time.monotonic() < limit


def test_counters_that_are_over_are_purged(tier: PostgresTier) -> None:
    tier.incr("short", 1, 0.001, soon())
    tier.incr("long", 1, 100, soon())
    tier.incr("ever", 1, None, soon())
    assert tier.purge(soon()).counters == 1
    assert tier.incr("long", 1, None, soon()) == 2
    assert tier.incr("ever", 1, None, soon()) == 2


def test_of_many_processes_one_purges_when_it_is_due(tier: PostgresTier, postgres_url: str) -> None:
    often = [PostgresTier(postgres_url, purge_every=3600) for _ in range(3)]
    tier.open(soon())
    for other in often:
        other._purge_now(0.0)
    assert [other.last_purge is not None for other in often] == [True] * 3
    for other in often:
        other.last_purge = None
        other._purge_now(3600.0)
    assert [other.last_purge for other in often] == [None] * 3
    for other in often:
        other.close()


def test_an_isolation_that_the_database_prefers_is_not_used(
    tier: PostgresTier, postgres_server: PostgresServer, postgres_database: str
) -> None:
    postgres_server.execute(
        f"ALTER DATABASE {postgres_database} SET default_transaction_isolation = 'serializable'"
    )
    link = tier._pool.take(soon())
    answer: Any = link.run(
        link.telling(b"SHOW default_transaction_isolation"), time.monotonic() + 5, "looking"
    )
    assert answer.get_value(0, 0) == b"read committed"
    tier._pool.give(link)


def test_a_fill_lets_the_purge_run_when_it_is_due(postgres_url: str) -> None:
    tier = PostgresTier(postgres_url, purge_every=0.01)
    limit = time.monotonic() + 5
    while tier.last_purge is None:
        tier.store([entry()], soon())
        assert time.monotonic() < limit
    tier.close()


# ---- the clock, and changes


def test_the_clock_is_the_servers(tier: PostgresTier) -> None:
    tier.open(soon())
    stamp = tier.bump(["n"], soon())[0]
    assert abs(tier.now() - stamp) < 10**6


def test_changes_are_what_was_invalidated_since(tier: PostgresTier, postgres_url: str) -> None:
    begun = tier.bump(["before"], soon())[0]
    tier.store([entry("filled")], soon())
    tier.write([entry("written")], soon())
    tier.delete(["deleted"], soon())
    bumped = tier.bump(["bumped"], soon())[0]
    changes = tier.changes(begun, soon())
    assert changes.names == {"bumped": bumped}
    assert changes.keys.keys() == {"written", "deleted"}
    assert changes.complete
    assert changes.until <= tier.now()
    stranger = PostgresTier(postgres_url, namespace="other")
    assert stranger.changes(0, soon()).names == {}
    stranger.close()


def test_too_many_changes_are_not_told_one_by_one(tier: PostgresTier) -> None:
    tier.bump([f"{number:032x}" for number in range(5000)], soon())
    assert not tier.changes(0, soon()).complete


def test_a_pooler_does_not_let_listen(postgres_url: str) -> None:
    with pytest.raises(UnsupportedError, match="changes"):
        PostgresTier(postgres_url, pgbouncer=True).listener()
