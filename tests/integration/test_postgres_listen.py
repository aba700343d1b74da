"""Listeners hear what others invalidate, and notice when they cannot."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.io.postgres.listen import Notice, end_payload, payloads, read
from millpond.tiers.base import Entry
from millpond.tiers.postgres import PostgresTier
from tests.integration.faults import FaultProxy
from tests.integration.servers import PgBouncer, PostgresServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond.io.postgres.listen import Listener

NAME = "0123456789abcdef" * 2


def soon() -> Deadline:
    return Deadline.after(5)


class Ears:
    """A listener in a thread, sync or in an event loop of its own; it hears from `Ears()` on."""

    def __init__(self, listener: Listener, way: str) -> None:
        self.listener = listener
        self.heard: queue.Queue[Notice] = queue.Queue()
        self.error: TierError | None = None
        self.beats = 0
        work = self._listen if way == "sync" else lambda: asyncio.run(self._alisten())
        self.thread = threading.Thread(target=work)
        self.thread.start()
        assert self.heard.get(timeout=5) == Notice("", [], [])

    def _take(self, notice: Notice) -> None:
        # Of the empty ones, with which the server is asked whether it is there, only the first.
        if notice.names or notice.keys or not self.beats:
            self.heard.put(notice)
        self.beats += not notice.names and not notice.keys

    def _listen(self) -> None:
        try:
            for notice in self.listener.heard():
                self._take(notice)
        except TierError as error:
            self.error = error

    async def _alisten(self) -> None:
        try:
            async for notice in self.listener.aheard():
                self._take(notice)
        except TierError as error:
            self.error = error

    def __enter__(self) -> Ears:
        return self

    def __exit__(self, *error: object) -> None:
        self.listener.close()
        self.thread.join(5)
        assert not self.thread.is_alive()


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tier(postgres_url: str) -> Iterator[PostgresTier]:
    tier = PostgresTier(postgres_url)
    tier.open(soon())
    yield tier
    tier.close()


def test_what_is_invalidated_is_heard_at_once(tier: PostgresTier, way: str) -> None:
    written = [Entry("k1", b"", 9), Entry("k2", b"", 9)]
    with Ears(tier.listener(), way) as ears:
        for act, names, keys in (
            (lambda: tier.bump([NAME], soon()), [NAME], []),
            (
                lambda: tier.write(written, soon()),
                [],
                ["k1", "k2"],
            ),
            (lambda: tier.delete(["k3"], soon()), [], ["k3"]),
            (lambda: tier.erase(["k4"], soon()), [], ["k4"]),
        ):
            begun = time.monotonic()
            act()
            assert ears.heard.get(timeout=5) == Notice(tier.origin, names, keys)
            assert time.monotonic() - begun < 1
    assert ears.error is None


def test_fills_and_counters_are_nobodys_business(tier: PostgresTier, way: str) -> None:
    with Ears(tier.listener(), way) as ears:
        tier.store([Entry("k", b"", 9)], soon())
        tier.stamp([NAME], soon())
        tier.incr("c", 1, None, soon())
        tier.bump([NAME], soon())
        assert ears.heard.get(timeout=5).names == [NAME]


def test_generations_count_in_their_namespace(
    tier: PostgresTier, postgres_url: str, way: str
) -> None:
    other = PostgresTier(postgres_url, namespace="other")
    with Ears(tier.listener(), way) as ears:
        other.bump([NAME], soon())
        other.delete(["other:f:1:a"], soon())
        assert ears.heard.get(timeout=5) == Notice(other.origin, [], ["other:f:1:a"])
    other.close()


def test_schemas_are_apart(tier: PostgresTier, postgres_url: str, way: str) -> None:
    other = PostgresTier(postgres_url, schema="elsewhere")
    with Ears(tier.listener(), way) as ears:
        other.bump([NAME], soon())
        tier.bump(["f" * 32], soon())
        assert ears.heard.get(timeout=5).names == ["f" * 32]
    other.close()


def test_many_names_come_in_several_notices(tier: PostgresTier, way: str) -> None:
    names = [f"{number:032x}" for number in range(1000)]
    keys = [f"{'k' * 500}{number:04}" for number in range(100)]
    heard: list[str] = []
    with Ears(tier.listener(), way) as ears:
        tier.bump(names, soon())
        while len(heard) < len(names):
            heard += ears.heard.get(timeout=5).names
        assert heard == names
        heard = []
        tier.delete(keys, soon())
        while len(heard) < len(keys):
            heard += ears.heard.get(timeout=5).keys
        assert heard == keys


def test_invalidations_pass_a_pooler(
    tier: PostgresTier, pgbouncer: PgBouncer, postgres_database: str, way: str
) -> None:
    pooled = PostgresTier(pgbouncer.url_of(postgres_database), pgbouncer=True)
    with Ears(tier.listener(), way) as ears:
        pooled.bump([NAME], soon())
        assert ears.heard.get(timeout=5) == Notice(pooled.origin, [NAME], [])
    pooled.close()


def test_a_listener_may_be_used_again(tier: PostgresTier, way: str) -> None:
    listener = tier.listener()
    for _ in range(2):
        with Ears(listener, way) as ears:
            tier.bump([NAME], soon())
            assert ears.heard.get(timeout=5).names == [NAME]


@pytest.mark.parametrize("fault", ["kill", "freeze", "half_open"])
def test_a_listener_that_hears_nothing_any_more_says_so(
    postgres_server: PostgresServer, way: str, fault: Any
) -> None:
    with FaultProxy(postgres_server) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"
        tier = PostgresTier(url, timeout=0.2)
        with Ears(tier.listener(beat=0.1), way) as ears:
            proxy.set(fault)
            wait_until(lambda: ears.error is not None, "the listener notices", seconds=5)
            assert ears.error is not None
            assert ears.error.kind in ("unavailable", "timeout")
        tier.close()


def test_a_quiet_listener_stays(tier: PostgresTier, way: str) -> None:
    with Ears(tier.listener(beat=0.02), way) as ears:
        wait_until(lambda: ears.beats > 5, "the server is asked")
        assert ears.heard.empty()
        assert ears.thread.is_alive()
        tier.bump([NAME], soon())
        assert ears.heard.get(timeout=5).names == [NAME]


def test_payloads_are_short_enough_and_say_the_same() -> None:
    keys = [f"{'k' * 511}{number % 10}" for number in range(100)]
    made = payloads("origin", "app", "k", keys)
    assert max(len(payload.encode()) for payload in made) < 8000
    notices = [read(payload, "app") for payload in made]
    assert [key for notice in notices if notice for key in notice.keys] == keys
    assert payloads("origin", "app", "k", []) == []


@pytest.mark.parametrize("payload", ["", "x", "origin other\ngname", "\n\n"])
def test_what_is_not_ours_is_no_notice(payload: str) -> None:
    assert read(payload, "app") is None


def test_the_end_of_a_lease_is_read_whoever_ended_it() -> None:
    begin = end_payload("origin", "app").decode()
    [end] = read(f"{begin}2 4611686018427387904 app:f:1:a", "other").ends  # type: ignore[union-attr]
    assert end == ("app:f:1:a", 1 << 62, 2)


@pytest.mark.parametrize("line", ["", "2", "2 1", "x 1 key", "2 x key"])
def test_what_is_no_end_of_a_lease_says_nothing(line: str) -> None:
    assert read(f"{end_payload('origin', 'app').decode()}{line}", "app") is None
