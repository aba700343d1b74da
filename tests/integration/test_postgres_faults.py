"""The PostgreSQL tier when the server, the network or its callers fail."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from millpond.errors import MillpondError, TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry
from millpond.tiers.postgres import PostgresTier
from tests.integration.faces import Face
from tests.integration.faults import FaultProxy
from tests.integration.servers import PgBouncer, PostgresServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "app:f:1:a"
# A call may end so much later than its deadline on a machine that is busy with other tests.
LATE = 0.25


def entry(data: bytes = b"data", key: str = KEY, ttl: float = 60.0) -> Entry:
    return Entry(key, data, ttl)


@pytest.fixture(params=["sync", "async"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner | None]:
    if request.param == "sync":
        yield None
        return
    with asyncio.Runner() as runner:
        yield runner


@contextmanager
def facing(url: str, runner: asyncio.Runner | None, **options: Any) -> Iterator[Face]:
    tier = PostgresTier(url, **{"max_connections": 2, **options})
    try:
        yield Face(tier, runner)
    finally:
        tier.close()


@contextmanager
def proxied(server: PostgresServer, runner: asyncio.Runner | None) -> Iterator[Any]:
    """A face of a tier behind a proxy, with something stored."""
    with FaultProxy(server) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        with facing(url, runner) as face:
            face.write([entry()])
            yield face, proxy


@contextmanager
def quick(face: Face, seconds: float = 0.1) -> Iterator[None]:
    """Calls with a short deadline, which they keep."""
    before, face.seconds = face.seconds, seconds
    begun = time.monotonic()
    try:
        yield
    finally:
        face.seconds = before
        assert time.monotonic() - begun < seconds + LATE


# ---- the server


def test_a_killed_server_is_unavailable_and_used_again(
    own_postgres: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with facing(own_postgres.url, runner) as face:
        face.write([entry()])
        own_postgres.kill()
        for _ in range(3):
            with quick(face, 1.0), pytest.raises(TierError) as caught:
                face.fetch([KEY], [])
            assert caught.value.kind == "unavailable"
        own_postgres.start()
        # Nothing committed is lost, and no call pays for the connections that were.
        assert face.fetch([KEY], []).data == [b"data"]


def test_a_restart_between_calls_is_not_noticed(
    own_postgres: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with facing(own_postgres.url, runner) as face:
        face.write([entry()])
        own_postgres.restart()
        assert face.fetch([KEY], []).data == [b"data"]


def test_a_connection_that_the_server_ended_is_not_noticed(
    postgres_server: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with facing(postgres_server.url, runner) as face:
        face.write([entry()])
        with postgres_server.connect() as other:
            ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            other.execute(f"{ended} WHERE application_name = 'millpond'")  # type: ignore[call-overload]
        assert face.fetch([KEY], []).data == [b"data"]


def test_a_starting_server_is_not_ready(
    own_postgres: PostgresServer, runner: asyncio.Runner | None
) -> None:
    # A standby without a primary, which takes no connections: "the database system is starting up".
    own_postgres.stop()
    (own_postgres.data / "standby.signal").touch()
    own_postgres.options["hot_standby"] = "off"
    own_postgres.launch()
    with facing(own_postgres.url, runner) as face:
        kinds: list[str] = []

        def is_not_ready() -> bool:
            with pytest.raises(TierError) as caught:
                face.fetch([KEY], [])
            kinds.append(caught.value.kind)
            return kinds[-1] == "not_ready"

        wait_until(is_not_ready, "the server says that it starts")
    assert set(kinds) <= {"unavailable", "not_ready"}


def test_a_frozen_server_takes_no_longer_than_the_deadline(
    own_postgres: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with facing(own_postgres.url, runner) as face:
        face.write([entry()])
        own_postgres.freeze()
        for _ in range(5):
            with quick(face), pytest.raises(TierTimeoutError) as caught:
                face.fetch([KEY], [])
            assert caught.value.kind == "timeout"
            assert caught.value.tier == "postgresql"
        own_postgres.thaw()
        assert face.fetch([KEY], []).data == [b"data"]


def test_a_disk_that_is_full_is_full(
    own_postgres: PostgresServer, runner: asyncio.Runner | None
) -> None:
    # The error of a full disk, raised by a trigger: a disk is not easily filled.
    with facing(own_postgres.url, runner) as face:
        face.write([entry()])
        own_postgres.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$;"
            "CREATE TRIGGER full_disk BEFORE INSERT ON millpond.entries"
            " EXECUTE FUNCTION full_disk()"
        )
        with pytest.raises(TierError, match="53100") as caught:
            face.write([entry()])
        assert caught.value.kind == "full"
        assert face.fetch([KEY], []).data == [b"data"]


# ---- the network


@pytest.mark.parametrize("mode", ["freeze", "half_open", "drip"])
def test_a_network_that_hangs_takes_no_longer_than_the_deadline(
    postgres_server: PostgresServer, runner: asyncio.Runner | None, mode: Any
) -> None:
    with proxied(postgres_server, runner) as (face, proxy):
        proxy.set(mode)
        for _ in range(3):
            with quick(face), pytest.raises(TierTimeoutError):
                face.fetch([KEY], [])
        proxy.heal()
        proxy.cut()
        assert face.fetch([KEY], []).data == [b"data"]


@pytest.mark.parametrize("mode", ["kill", "reset", "truncate"])
def test_a_network_that_breaks_is_unavailable(
    postgres_server: PostgresServer, runner: asyncio.Runner | None, mode: Any
) -> None:
    with proxied(postgres_server, runner) as (face, proxy):
        proxy.set(mode, after=10)
        for _ in range(3):
            with quick(face, 1.0), pytest.raises(TierError) as caught:
                face.fetch([KEY], [])
            assert caught.value.kind == "unavailable"
        proxy.heal()
        assert face.fetch([KEY], []).data == [b"data"]


@pytest.mark.parametrize("every", [1, 2, 3, 5, 11, 23])
def test_corrupt_replies_end_in_errors_or_in_other_bytes(
    postgres_server: PostgresServer, runner: asyncio.Runner | None, every: int
) -> None:
    with proxied(postgres_server, runner) as (face, proxy):
        proxy.set("corrupt", every=every)
        for after in range(0, 60, 7):
            proxy.set("corrupt", every=every, after=after)
            # Whether the bytes are what was stored is for the checksum in them to say.
            with quick(face, 0.1), suppress(MillpondError):
                face.fetch([KEY], [])
        proxy.heal()
        proxy.cut()
        assert face.fetch([KEY], []).data == [b"data"]


def test_a_connection_too_slow_for_one_call_is_there_for_a_later_one(
    postgres_server: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with proxied(postgres_server, runner) as (face, proxy):
        face.tier.close()
        face.tier._carrier.ready = True
        before = len(proxy.connections)
        proxy.set("latency", seconds=0.2, way="down")
        with quick(face), pytest.raises(TierTimeoutError):
            face.fetch([KEY], [])
        fetched: list[Any] = []

        def is_there() -> bool:
            with suppress(TierTimeoutError):
                fetched.append(face.fetch([KEY], []).data)
            return bool(fetched)

        face.seconds = 0.35
        wait_until(is_there, "a call finds a connection that stands")
        assert fetched == [[b"data"]]
        # It was one connection that all of them made; a call that timed out on it cost another.
        assert len(proxy.connections) - before <= 2


def test_the_second_host_is_used_when_the_first_says_nothing(
    postgres_server: PostgresServer,
    runner: asyncio.Runner | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("millpond.io.postgres.pool._PATIENCE", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        hosts = f"127.0.0.1:{silent.getsockname()[1]},localhost:{postgres_server.port}"
        with facing(f"postgresql://postgres@{hosts}/postgres", runner) as face:
            with quick(face), pytest.raises(TierTimeoutError):
                face.fetch([KEY], [])
            assert face.store([entry(key="two")]) == [True]


# ---- the callers


def test_callers_that_find_no_connection_wait_and_no_longer_than_their_deadline(
    own_postgres: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with facing(own_postgres.url, runner, max_connections=1) as face:
        face.write([entry()])
        held = face.tier._pool.take(Deadline.after(1))
        with quick(face), pytest.raises(TierTimeoutError, match="waiting for a connection"):
            face.fetch([KEY], [])
        timer = threading.Timer(0.05, face.tier._pool.give, (held,))
        timer.start()
        assert face.fetch([KEY], []).data == [b"data"]
        timer.join()


def test_threads_and_tasks_share_the_connections(postgres_server: PostgresServer) -> None:
    tier = PostgresTier(postgres_server.url, max_connections=3)
    tier.write([entry()], Deadline.after(5))
    wrong: list[Any] = []

    def work() -> None:
        found = [tier.fetch([KEY], [], Deadline.after(20)).data for _ in range(50)]
        wrong.extend(data for data in found if data != [b"data"])

    async def task() -> None:
        found = [(await tier.afetch([KEY], [], Deadline.after(20))).data for _ in range(5)]
        wrong.extend(data for data in found if data != [b"data"])

    async def tasks() -> None:
        await asyncio.gather(*(task() for _ in range(200)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    threads += [threading.Thread(target=asyncio.run, args=(tasks(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert tier._pool.count <= 3
    assert tier._pool.idle == tier._pool.count
    tier.close()


def test_a_cancelled_call_does_not_leave_its_reply_to_the_next(
    postgres_server: PostgresServer,
) -> None:
    async def story() -> None:
        tier = PostgresTier(postgres_server.url, max_connections=1)
        await tier.awrite([entry(b"one", "one"), entry(b"two", "two")], Deadline.after(5))
        for number in range(100):
            task = asyncio.create_task(tier.afetch(["one"], [], Deadline.after(5)))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert (await tier.afetch(["two"], [], Deadline.after(5))).data == [b"two"]
        assert tier._pool.count == tier._pool.idle == 1
        await tier.aclose()

    asyncio.run(story())


def test_an_interrupted_call_does_not_leave_its_reply_to_the_next(
    own_postgres: PostgresServer,
) -> None:
    tier = PostgresTier(own_postgres.url, max_connections=1)
    tier.write([entry()], Deadline.after(5))
    own_postgres.freeze()
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    begun = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        tier.fetch([KEY], [], Deadline.after(20))
    assert time.monotonic() - begun < 5
    timer.join()
    own_postgres.thaw()
    assert tier.fetch([KEY], [], Deadline.after(5)).data == [b"data"]
    tier.close()


def test_closing_ends_what_is_under_way(own_postgres: PostgresServer) -> None:
    tier = PostgresTier(own_postgres.url, max_connections=1)
    tier.write([entry()], Deadline.after(5))
    own_postgres.freeze()
    errors: list[Exception] = []

    def work() -> None:
        try:
            tier.fetch([KEY], [], Deadline.after(20))
        except TierError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    wait_until(lambda: len(tier._pool._waiters) == 2, "one asks and two wait")
    tier.close()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5
    assert len(errors) == 3
    own_postgres.thaw()
    assert tier.fetch([KEY], [], Deadline.after(5)).data == [b"data"]
    tier.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_leaves_the_parents_connections_alone(postgres_server: PostgresServer) -> None:
    tier = PostgresTier(postgres_server.url, max_connections=1)
    tier.write([entry()], Deadline.after(5))
    before = backends(postgres_server)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            fine = 1
            with suppress(BaseException):
                found = [tier.fetch([KEY], [], Deadline.after(5)).data for _ in range(20)]
                tier.close()
                fine = 0 if found == [[b"data"]] * 20 else 2
            os._exit(fine)
        for _ in range(50):
            assert tier.fetch([KEY], [], Deadline.after(5)).data == [b"data"]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # The same session all along.
    assert backends(postgres_server) == before
    tier.close()
    wait_until(lambda: not backends(postgres_server), "the sessions have ended")


def backends(server: PostgresServer) -> set[int]:
    with server.connect() as other:
        found = other.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'millpond'"
        )
        return {row[0] for row in found.fetchall()}


def test_what_a_caller_gave_up_does_not_run_on_for_ever(
    postgres_server: PostgresServer,
) -> None:
    tier = PostgresTier(postgres_server.url)
    link = tier._pool.take(Deadline.after(5))
    answer: Any = link.run(link.telling(b"SHOW statement_timeout"), time.monotonic() + 5, "looking")
    assert answer.get_value(0, 0) == b"10s"
    tier._pool.give(link)
    tier.close()


# ---- a pooler between


def test_a_pooler_that_restarts_or_freezes(
    postgres_server: PostgresServer, runner: asyncio.Runner | None
) -> None:
    with (
        PgBouncer(postgres_server, pool_size=2) as bouncer,
        facing(bouncer.url, runner, pgbouncer=True) as face,
    ):
        face.write([entry()])
        bouncer.freeze()
        with quick(face), pytest.raises(TierTimeoutError):
            face.fetch([KEY], [])
        bouncer.thaw()
        assert face.fetch([KEY], []).data == [b"data"]
        bouncer.restart()
        assert face.fetch([KEY], []).data == [b"data"]


def test_more_connections_than_the_pooler_has(pgbouncer: PgBouncer) -> None:
    tiers = [PostgresTier(pgbouncer.url, pgbouncer=True, max_connections=4) for _ in range(8)]
    failed: list[Exception] = []

    def work(tier: PostgresTier, number: int) -> None:
        try:
            for turn in range(20):
                key = f"pooled:{number}:{turn}"
                tier.write([entry(key.encode(), key)], Deadline.after(20))
                assert tier.fetch([key], [], Deadline.after(20)).data == [key.encode()]
        except Exception as error:
            failed.append(error)

    threads = [
        threading.Thread(target=work, args=(tier, number)) for number, tier in enumerate(tiers * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tier in tiers:
        tier.close()
    assert failed == []
