"""A PostgreSQL tier tells what others do to it, and what it could not hear is told afterwards."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry, Feed
from millpond.tiers.postgres import PostgresTier
from tests.integration.faults import FaultProxy
from tests.integration.servers import PgBouncer, PostgresServer, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def soon() -> Deadline:
    return Deadline.after(5)


class Memory:
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.keys: list[str] = []
        self.losses = 0
        self.ups: list[bool] = []
        self.until = 0.0

    def changed(self, names: Sequence[str], keys: Sequence[str]) -> None:
        self.names += names
        self.keys += keys

    def everything(self) -> None:
        self.losses += 1

    def alive(self, seconds: float) -> None:
        self.until = time.monotonic() + seconds

    def up(self, yes: bool) -> None:
        self.ups.append(yes)

    @property
    def is_up(self) -> bool:
        return bool(self.ups) and self.ups[-1]


@pytest.fixture
def other(postgres_url: str) -> Iterator[PostgresTier]:
    tier = PostgresTier(postgres_url)
    tier.open(soon())
    yield tier
    tier.close()


@pytest.fixture(params=["direct", "pooled"])
def tier(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    pgbouncer: PgBouncer,
    postgres_database: str,
    other: PostgresTier,
) -> Iterator[PostgresTier]:
    server = postgres_server if request.param == "direct" else pgbouncer
    tier = PostgresTier(server.url_of(postgres_database), pgbouncer=server is pgbouncer)
    yield tier
    tier.close()


def watched(tier: PostgresTier, grace: float = 1.0) -> Memory:
    memory = Memory()
    tier.watch(memory, grace)
    wait_until(lambda: memory.is_up, "it is up")
    return memory


def test_it_is_a_feed(other: PostgresTier) -> None:
    assert isinstance(other, Feed)


def test_what_others_do_is_told(tier: PostgresTier, other: PostgresTier) -> None:
    other.bump([OTHER], soon())
    memory = watched(tier)
    other.bump([NAME], soon())
    other.write([Entry("k1", b"", 60)], soon())
    other.delete(["k2"], soon())
    wait_until(lambda: (memory.names, set(memory.keys)) == ([NAME], {"k1", "k2"}), "all is told")
    assert memory.losses == 0
    # What was told is not told again, whatever is asked.
    until = memory.until
    wait_until(lambda: memory.until > until + 0.6, "it was asked again")
    assert memory.names == [NAME]
    assert sorted(memory.keys) == ["k1", "k2"]


def test_fills_are_not_told(tier: PostgresTier, other: PostgresTier) -> None:
    memory = watched(tier)
    other.store([Entry("k", b"", 60)], soon())
    other.stamp([OTHER], soon())
    other.delete(["last"], soon())
    wait_until(lambda: memory.keys, "the last is told")
    assert memory.keys == ["last"]
    assert set(memory.names) <= {OTHER}  # By asking, a new stamp looks like a bumped one.


def test_a_trust_is_renewed_before_it_ends(tier: PostgresTier) -> None:
    memory = watched(tier, grace=0.4)
    limit = time.monotonic() + 1.5
    while time.monotonic() < limit:
        assert memory.until > time.monotonic() - 0.3  # Some for a machine that is busy.
        time.sleep(0.01)
    assert memory.ups == [True]


def test_what_it_does_itself_is_not_told(postgres_url: str, other: PostgresTier) -> None:
    tier = PostgresTier(postgres_url)
    memory = watched(tier)
    tier.write([Entry("mine", b"", 60)], soon())
    tier.bump([NAME], soon())
    other.delete(["theirs"], soon())
    wait_until(lambda: memory.keys, "the other's is told")
    assert (memory.names, memory.keys) == ([], ["theirs"])
    tier.close()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_fork_is_another(postgres_url: str, other: PostgresTier) -> None:
    tier = PostgresTier(postgres_url)
    tier.open(soon())
    memory = watched(tier)
    child = os.fork()
    if child == 0:
        try:
            tier.delete(["childs"], soon())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    wait_until(lambda: memory.keys == ["childs"], "the child's is told")
    tier.close()


@pytest.mark.parametrize("fault", ["kill", "half_open", "freeze"])
def test_what_was_not_heard_is_told_when_the_link_is_back(
    postgres_server: PostgresServer, postgres_database: str, other: PostgresTier, fault: Any
) -> None:
    with FaultProxy(postgres_server) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{postgres_database}"
        tier = PostgresTier(url)
        memory = watched(tier, grace=0.8)
        proxy.set(fault)
        wait_until(lambda: not memory.is_up, "the link is down")
        other.bump([NAME], soon())
        other.delete(["unheard"], soon())
        wait_until(lambda: memory.until < time.monotonic(), "the trust ends")
        proxy.heal()
        wait_until(lambda: memory.is_up, "the link is up")
        assert set(memory.names) == {NAME}
        assert set(memory.keys) == {"unheard"}
        assert memory.losses == 0
        tier.close()


def test_too_much_that_was_not_heard_is_everything(
    postgres_server: PostgresServer, postgres_database: str, other: PostgresTier
) -> None:
    with FaultProxy(postgres_server) as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/{postgres_database}"
        tier = PostgresTier(url)
        memory = watched(tier)
        proxy.set("kill")
        wait_until(lambda: not memory.is_up, "the link is down")
        other.bump([f"{number:032x}" for number in range(5000)], soon())
        proxy.heal()
        wait_until(lambda: memory.is_up, "the link is up")
        assert memory.losses == 1
        tier.close()


def test_nobody_is_told_after_unwatch_or_close(tier: PostgresTier, other: PostgresTier) -> None:
    for end in (tier.unwatch, tier.close):
        memory = watched(tier)
        end()
        assert memory.ups == [True, False]
        other.delete(["k"], soon())
        assert memory.keys == []
