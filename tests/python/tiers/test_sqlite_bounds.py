"""The SQLite tier keeps within its bounds, and what goes is what matters least."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from millpond.errors import TierError
from millpond.io.sqlite import upkeep
from millpond.tiers.sqlite import SQLiteTier

if TYPE_CHECKING:
    from collections.abc import Callable
from tests.python.tiers.sqlite_parts import (
    MEBIBYTE,
    START,
    Clock,
    entry,
    fill,
    soon,
    wal_of,
)
from tests.waiting import wait_until

# ---- bounds


def test_the_file_never_grows_beyond_its_bound(make: Callable[..., SQLiteTier]) -> None:
    tier = make(max_bytes=2 * MEBIBYTE)
    for _ in range(3):
        fill(tier, 400)
        assert tier.path.stat().st_size <= 2 * MEBIBYTE
    assert tier.path.stat().st_size > MEBIBYTE


def test_what_was_used_least_recently_goes_first(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make(max_bytes=2 * MEBIBYTE)
    old = fill(tier, 100)
    used = old[::10]
    clock.advance(120)
    for key in used:
        assert tier.fetch([key], [], soon()).data != [None]
    clock.advance(1)
    new = [f"new{number}" for number in range(100)]
    for key in new:
        tier.store([entry(key, os.urandom(10_000))], soon())
    assert None not in tier.fetch(used, [], soon()).data
    assert None not in tier.fetch(new[-50:], [], soon()).data
    assert tier.fetch(old, [], soon()).data.count(None) >= 10


def test_uses_that_cannot_be_written_down_now_are_later(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make(max_bytes=2 * MEBIBYTE)
    [key] = fill(tier, 1)
    tier.close()
    clock.advance(120)
    upkeep_of = upkeep.Upkeep(2 * MEBIBYTE, wal_of(tier), clock)
    upkeep_of.note(key, clock())
    with closing(sqlite3.connect(tier.path, timeout=0, isolation_level=None)) as connection:
        with closing(sqlite3.connect(tier.path, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                upkeep_of(connection, False)
        clock.advance(60)
        upkeep_of(connection, False)
        used = connection.execute("SELECT used FROM records WHERE key = ?", (key,)).fetchone()
    assert used == (clock() - 60_000_000,)


def test_what_is_over_goes_before_what_is_not(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make(max_bytes=2 * MEBIBYTE)
    keys = fill(tier, 50)
    clock.advance(1)
    tier.store(
        [entry(f"short{number}", os.urandom(10_000), ttl=10) for number in range(80)], soon()
    )
    clock.advance(11)
    tier.store([entry(f"next{number}", os.urandom(10_000)) for number in range(60)], soon())
    assert None not in tier.fetch(keys, [], soon()).data


def test_a_guard_survives_the_eviction_of_its_entry(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make(max_bytes=2 * MEBIBYTE)
    tier.write([entry("a", os.urandom(10_000))], soon())
    clock.advance(120)
    fill(tier, 400)
    fetched = tier.fetch(["a"], [], soon())
    assert fetched.data == [None]
    assert fetched.guards == [START]
    assert tier.store([entry("a")], soon()) == [False]


def test_space_is_given_back(make: Callable[..., SQLiteTier], clock: Clock) -> None:
    tier = make(max_bytes=16 * MEBIBYTE)
    keys = fill(tier, 1000)
    big = tier.path.stat().st_size
    assert big > 6 * MEBIBYTE
    clock.advance(700)
    tier.store([entry("a")], soon())

    def small() -> bool:
        clock.advance(11)
        tier.delete(["none"], soon())
        return tier.path.stat().st_size < big / 2

    wait_until(small)
    assert tier.fetch(keys, [], soon()).data == [None] * 1000


def test_the_wal_stays_short_under_constant_readers(make: Callable[..., SQLiteTier]) -> None:
    tier = make(max_bytes=64 * MEBIBYTE)
    tier.open(soon())
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            tier.fetch(["k000001", "k000002"], [], soon())

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    longest = 0
    try:
        for _ in range(4):
            fill(tier, 1000)
            longest = max(longest, wal_of(tier).stat().st_size)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert longest < 4 * upkeep.WAL_BYTES


def test_an_entry_that_would_push_out_the_others_is_full(make: Callable[..., SQLiteTier]) -> None:
    tier = make(max_bytes=MEBIBYTE)
    tier.store([entry("a")], soon())
    with pytest.raises(TierError, match="more than a quarter of max_bytes") as raised:
        tier.store([entry("b", bytes(MEBIBYTE // 4 + 1))], soon())
    assert raised.value.kind == "full"
    assert tier.store([entry("c", bytes(MEBIBYTE // 4))], soon()) == [True]
    assert tier.fetch(["a"], [], soon()).data == [b"data"]


def test_counters_alone_fill_it_and_then_it_is_full(make: Callable[..., SQLiteTier]) -> None:
    tier = make(max_bytes=MEBIBYTE)
    long = "c" * 490

    def count_on() -> None:
        for number in range(10_000):
            tier.incr(f"{long}{number}", 1, None, soon())

    with pytest.raises(TierError) as raised:
        count_on()
    assert raised.value.kind == "full"
    # What is there stays in use.
    assert tier.incr(f"{long}0", 1, None, soon()) == 2


def test_the_names_are_bounded_and_no_stamp_repeats(
    make: Callable[..., SQLiteTier], clock: Clock
) -> None:
    tier = make(max_bytes=MEBIBYTE)
    names = [f"{number:032x}" for number in range(1500)]
    first = tier.stamp(names, soon())
    clock.advance(60)
    [kept] = tier.stamp(["kept"], soon())

    def pruned() -> bool:
        clock.advance(11)
        tier.incr("c", 1, None, soon())
        return tier.fetch([], names, soon()).stamps.count(None) >= 500

    wait_until(pruned)
    assert tier.fetch([], ["kept"], soon()).stamps == [kept]
    clock.now = START
    assert min(tier.stamp(names, soon())) >= min(first)
    lost = [name for name, old in zip(names, first, strict=True)]
    assert len(set(tier.stamp(lost, soon()))) == 1500


def test_erased_bytes_are_in_none_of_its_files(make: Callable[..., SQLiteTier]) -> None:
    tier = make()
    secret = b"the secret of an owner" * 500
    tier.store([entry("a", secret), entry("b", secret)], soon())
    tier.write([entry("c", secret)], soon())
    assert tier.erase(["a", "b", "c"], soon()) == 3
    tier.close()
    for file in tier.path.parent.iterdir():
        assert b"secret" not in file.read_bytes()


@pytest.mark.parametrize("size", [100, 100_000])
def test_erasing_leaves_no_bytes_of_what_was_removed_before(
    make: Callable[..., SQLiteTier], clock: Clock, size: int
) -> None:
    tier = make()
    secret = b"the secret of an owner".ljust(size, b".")
    tier.store([entry(f"gone{number}", secret) for number in range(30)], soon())
    tier.delete([f"gone{number}" for number in range(30)], soon())
    tier.store([entry(f"over{number}", secret, ttl=5) for number in range(300)], soon())
    tier.store([entry("owned", secret), entry("other", b"of nobody")], soon())
    clock.advance(6)
    assert tier.erase(["owned"], soon()) == 1
    for file in tier.path.parent.iterdir():  # While it is open.
        assert b"secret" not in file.read_bytes()
    assert tier.fetch(["other"], [], soon()).data == [b"of nobody"]


def test_erasing_in_a_loop_leaves_none_either(make: Callable[..., SQLiteTier]) -> None:
    tier = make()

    async def erasing() -> None:
        await tier.astore([entry("owned", b"the secret of an owner" * 5000)], soon())
        await tier.adelete(["owned"], soon())
        assert await tier.aerase(["no"], soon()) == 0

    asyncio.run(erasing())
    for file in tier.path.parent.iterdir():
        assert b"secret" not in file.read_bytes()
