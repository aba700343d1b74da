"""Several processes on one SQLite file: nothing stale, nothing lost, whoever is killed or forks."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from millpond.errors import TierError
from millpond.io.sqlite import fork
from millpond.tiers.base import Entry
from millpond.tiers.sqlite import FILE, SQLiteTier
from tests.integration import sqlite_crowd
from tests.integration.children import Child
from tests.integration.sqlite_crowd import crowd, soon, tier_in, write_on
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPAWN: Any = multiprocessing.get_context("spawn")


def sound(folder: Path) -> None:
    connection = sqlite3.connect(folder / FILE)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def test_eight_processes_never_see_what_was_reported_old(tmp_path: Path) -> None:
    floors = SPAWN.Array("q", sqlite_crowd.KEYS)
    tags = SPAWN.Array("q", sqlite_crowd.NAMES)
    told = SPAWN.Queue()
    folder = tmp_path / "data"
    processes = [
        SPAWN.Process(target=crowd, args=(folder, seed, 400, floors, tags, told))
        for seed in range(8)
    ]
    for process in processes:
        process.start()
    reports = [told.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert [wrong for _, _, wrong in reports] == [[]] * 8
    assert sum(floors) > 20
    tier = tier_in(folder)
    assert tier.incr("counted", 0, None, soon()) == sum(count for _, count, _ in reports)
    tier.close()
    sound(folder)


def test_a_killed_writer_loses_nothing_that_it_reported(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rng = random.Random(4)
    done = SPAWN.Array("q", 3)
    survivor = tier_in(folder)
    survivor.open(soon())
    watched = survivor.stamp_word(soon())
    for _ in range(5):
        writers = [SPAWN.Process(target=write_on, args=(folder, n, done)) for n in range(3)]
        begun = list(done)
        for process in writers:
            process.start()
        wait_until(
            lambda begun=begun: all(now > then for now, then in zip(done, begun, strict=True)),
            "each has written",
            seconds=60,
        )
        time.sleep(rng.uniform(0, 0.15))
        for process in rng.sample(writers, 3):
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        # What is left of a dead writer holds nobody up.
        begin = time.monotonic()
        survivor.write([Entry("after", b"1", 60)], soon())
        assert time.monotonic() - begin < 2
        for number, last in enumerate(done):
            keys = [f"w{number}:{at:06}" for at in range(1, last + 1)]
            data = survivor.fetch(keys, [], soon()).data
            assert [
                at for at, entry in enumerate(data, 1) if entry is None or int(entry) != at
            ] == []
    assert min(done) > 10
    # Nor is an invalidation lost to those who watch, of a writer that died before it told of it.
    survivor._checked = 0
    survivor.fetch(["after"], [], soon())
    assert watched.announced() >= survivor.last_change(soon())
    survivor.close()
    sound(folder)


# ---- fork


@pytest.fixture
def tier(tmp_path: Path) -> Iterator[SQLiteTier]:
    tier = tier_in(tmp_path / "data")
    tier.store([Entry("a", b"before", 600)], soon())
    yield tier
    tier.close()


def put_and_get(tier: SQLiteTier, key: str) -> bytes | None:
    tier.write([Entry(key, key.encode(), 600)], soon())
    return tier.fetch([key], [], soon()).data[0]


def test_a_child_and_its_parent_go_on_side_by_side(tier: SQLiteTier, tmp_path: Path) -> None:
    tier.fetch(["a"], [], soon())
    children = [Child(lambda n=n: put_and_get(tier, f"child{n}")) for n in range(3)]
    assert put_and_get(tier, "parent") == b"parent"
    assert [child.result() for child in children] == [b"child0", b"child1", b"child2"]
    found = tier.fetch(["a", "child0", "child1", "child2", "parent"], [], soon()).data
    assert found == [b"before", b"child0", b"child1", b"child2", b"parent"]
    tier.close()
    sound(tmp_path / "data")


def test_forks_amid_reads_and_writes_of_other_threads(tier: SQLiteTier, tmp_path: Path) -> None:
    stop = threading.Event()
    failed: list[BaseException] = []
    counts = [0, 0, 0, 0]

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                counts[number] += 1
                if number % 2:
                    tier.write([Entry(f"t{number}:{counts[number]}", b"x" * 3000, 600)], soon())
                else:
                    assert tier.fetch(["a", "b"], ["n"], soon()).data[0] == b"before"
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(8):
            child = Child(
                lambda number=number: [put_and_get(tier, f"c{number}:{n}") for n in range(20)][-1]
            )
            assert child.result() == f"c{number}:19".encode()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert min(counts) > 5
    keys = [f"c{number}:{n}" for number in range(8) for n in range(20)]
    keys += [f"t{number}:{n}" for number in (1, 3) for n in range(1, counts[number] + 1)]
    assert None not in tier.fetch(keys, [], soon()).data
    tier.close()
    sound(tmp_path / "data")


def test_a_child_s_end_takes_no_lock_from_its_parent(tier: SQLiteTier, tmp_path: Path) -> None:
    # Were a lock lost, the last one to close would believe itself alone and delete the WAL.
    other = tier_in(tmp_path / "data")
    for number in range(5):
        assert Child(lambda n=number: put_and_get(tier, f"child{n}")).result()
        assert put_and_get(tier, f"parent{number}")
        assert put_and_get(other, f"other{number}")
    other.close()
    keys = [f"{who}{n}" for who in ("child", "parent", "other") for n in range(5)]
    assert None not in tier.fetch(keys, [], soon()).data
    tier.close()
    sound(tmp_path / "data")


def test_a_child_of_a_fork_amid_a_statement_that_goes_on_keeps_away(
    tier: SQLiteTier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork, "PATIENCE", 0.05)
    tier.fetch(["a"], [], soon())
    reading = tier._database.reader()

    def use() -> list[str]:
        said = []
        for call in (
            lambda: tier.fetch(["a"], [], soon()),
            lambda: tier.store([Entry("b", b"b", 60)], soon()),
        ):
            with pytest.raises(TierError) as raised:
                call()
            said.append(str(raised.value))
        # Another tier of the child's, on another file, is not concerned.
        assert put_and_get(tier_in(tmp_path / "own"), "k") == b"k"
        return said

    with reading.lock:
        child = Child(use)
    said = child.result()
    assert reading in tier._database._readers, "what was not closed is not forgotten"
    assert len(said) == 2
    assert all("forked while the database was in use" in text for text in said)
    assert put_and_get(tier, "parent") == b"parent"
    tier.close()
    sound(tmp_path / "data")


def test_a_fork_of_a_tier_that_was_never_used_is_none_of_its_business(tmp_path: Path) -> None:
    tier = tier_in(tmp_path / "data")
    assert Child(lambda: put_and_get(tier, "child")).result() == b"child"
    assert put_and_get(tier, "parent") == b"parent"
    tier.close()
