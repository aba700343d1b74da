"""The SQLite tier's own: its options, its clock, its log of changes."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millpond.errors import ConfigurationError
from millpond.io.sqlite import upkeep
from millpond.io.sqlite.schema import GUARD_LIFE
from millpond.tiers.base import Entry, Tier
from millpond.tiers.sqlite import SQLiteTier

if TYPE_CHECKING:
    from collections.abc import Callable
from tests.python.tiers.sqlite_parts import MEBIBYTE, START, Clock, entry, soon
from tests.waiting import wait_until

# ---- options


def test_its_defaults(tmp_path: Path) -> None:
    tier: Tier = SQLiteTier(tmp_path)
    assert isinstance(tier, Tier)
    assert (tier.name, tier.shared, tier.timeout, tier.max_ttl) == ("sqlite", False, 0.25, 86400)
    assert abs(tier.now() - time.time() * 1e6) < 1e6


def test_making_one_opens_and_starts_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    SQLiteTier(tmp_path / "data").close()
    assert not (tmp_path / "data").exists()
    assert threading.active_count() == threads


def test_a_bound_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="max_bytes=1048575: allowed is at least 1048576"):
        SQLiteTier(tmp_path, max_bytes=MEBIBYTE - 1)


# ---- time


def test_a_life_ends_to_the_microsecond(make: Callable[..., SQLiteTier], clock: Clock) -> None:
    tier = make()
    tier.store([entry("a", ttl=10)], soon())
    clock.advance(10)
    clock.now -= 1
    assert tier.fetch(["a"], [], soon()).data == [b"data"]
    held = tier.inspect("a", soon())
    assert held is not None
    assert held.ttl == pytest.approx(1e-6)
    clock.now += 1
    assert tier.fetch(["a"], [], soon()).data == [None]
    assert tier.fetch(["a", "b"], [], soon()).data == [None, None]
    assert tier.inspect("a", soon()) is None


def test_a_guard_counts_for_an_hour(make: Callable[..., SQLiteTier], clock: Clock) -> None:
    tier = make()
    tier.delete(["a"], soon())
    clock.now = START + GUARD_LIFE - 1
    assert tier.fetch(["a"], [], soon()).guards == [START]
    assert tier.fetch(["a", "a"], [], soon()).guards == [START, START]
    assert tier.store([entry("a")], soon()) == [False]
    clock.now += 1
    assert tier.fetch(["a"], [], soon()).guards == [0]
    assert tier.fetch(["a", "a"], [], soon()).guards == [0, 0]
    assert tier.store([entry("a", guard=START)], soon()) == [False]
    assert tier.store([entry("a")], soon()) == [True]


def test_stamps_and_guards_rise_when_the_clock_is_set_back(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make()
    [first] = tier.bump(["n"], soon())
    assert first == START
    clock.advance(-3600)
    [second] = tier.bump(["n"], soon())
    tier.write([entry("a")], soon())
    [guard] = tier.fetch(["a"], [], soon()).guards
    assert (second, guard) == (START + 1, START + 2)
    tier.close()
    assert make().bump(["m"], soon()) == [START + 3]


def test_a_fence_lets_only_the_holder_of_the_lease_fill(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make()

    def stored(fence: int) -> bool:
        return tier.store([Entry("a", b"%d" % fence, 60, 0, fence)], soon())[0]

    assert not stored(5)
    assert tier.acquire("a", 5, 2.0, b"", soon()).state == "held"
    assert not stored(4)
    assert stored(0), "who loads without a lease stores as ever"
    assert stored(5)
    assert not stored(5), "its lease has ended with that"
    assert tier.acquire("a", 6, 2.0, b"5", soon()).state == "held"
    clock.advance(2.1)
    assert not stored(6), "it has run out"
    assert tier.fetch(["a"], [], soon()).data == [b"5"]


def test_leases_that_nobody_ended_are_purged(make: Callable[..., SQLiteTier], clock: Clock) -> None:
    tier = make()
    for number in range(600):
        tier.acquire(f"k{number}", 1, 2.0, b"", soon())
    clock.advance(60)
    tier.store([entry("more")], soon())

    def left() -> int:
        tier._writer.nudge()
        with sqlite3.connect(tier.path) as connection:
            found = int(connection.execute("SELECT count(*) FROM leases").fetchone()[0])
        connection.close()
        clock.advance(60)
        return found

    wait_until(lambda: left() == 0, "they are gone")


# ---- changes


def test_what_is_invalidated_is_seen_by_others(make: Callable[..., SQLiteTier]) -> None:
    ours, theirs = make(), make()
    stamp = ours.stamp_word(soon())
    word = memoryview(stamp).cast("Q")
    seen, last = stamp.value(), ours.last_change(soon())
    theirs.store([entry("filled")], soon())
    theirs.stamp(["made"], soon())
    theirs.incr("counted", 1, None, soon())
    assert stamp.value() == seen
    assert ours.changes(last, soon()) == (last, [], [])
    for invalidate, names, keys in (
        (lambda: theirs.bump(["n", "m"], soon()), ["n", "m"], []),
        (lambda: theirs.write([entry("a")], soon()), [], ["a"]),
        (lambda: theirs.delete(["b", "a"], soon()), [], ["b", "a"]),
        (lambda: theirs.erase(["c"], soon()), [], ["c"]),
    ):
        invalidate()
        assert word[0] != seen
        changes = ours.changes(last, soon())
        assert changes is not None
        assert (changes.names, changes.keys) == (names, keys)
        seen, last = word[0], changes.seq


def test_changes_that_are_no_longer_known_are_none(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(upkeep, "LOG_ROWS", 10)
    tier = make()
    tier.bump([f"n{number}" for number in range(30)], soon())
    assert tier.last_change(soon()) == 30
    clock.advance(60)
    tier.store([entry("a")], soon())
    wait_until(lambda: tier.changes(0, soon()) is None)
    assert tier.changes(19, soon()) is None
    changes = tier.changes(20, soon())
    assert changes is not None
    assert len(changes.names) == 10
    assert tier.changes(31, soon()) is None
    assert tier.changes(30, soon()) == (30, [], [])


def test_a_change_whose_writer_died_before_it_told_is_told_by_the_next_one(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make()
    stamp = tier.stamp_word(soon())
    with sqlite3.connect(tier.path) as connection:
        connection.execute("INSERT INTO log (at, kind, name) VALUES (0, 1, 'a')")
    connection.close()
    before = stamp.value()
    assert stamp.announced() == 0
    clock.advance(1)
    tier.fetch(["b"], [], soon())
    assert (stamp.announced(), stamp.value()) == (1, before + 1)
    clock.advance(1)
    tier.fetch(["b"], [], soon())
    assert (stamp.announced(), stamp.value()) == (1, before + 1)
