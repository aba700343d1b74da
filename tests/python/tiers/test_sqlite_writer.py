"""The SQLite tier's one writer: who waits for it, for how long, and what that costs others."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from millpond.errors import TierError, TierTimeoutError
from millpond.io.sqlite import writer
from millpond.tiers.sqlite import SQLiteTier

if TYPE_CHECKING:
    from collections.abc import Callable
from tests.python.tiers.sqlite_parts import (
    START,
    Line,
    entry,
    held_lock,
    open_files,
    soon,
    wal_of,
)
from tests.waiting import wait_until

# ---- one writer


def test_a_write_waits_for_others_until_its_deadline_and_reads_do_not(
    make: Callable[..., SQLiteTier],
) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)
    begun = time.monotonic()
    with pytest.raises(TierTimeoutError, match="did not answer in time"):
        tier.store([entry("b")], soon(0.1))
    assert 0.1 <= time.monotonic() - begun < 0.4
    begun = time.monotonic()
    assert tier.fetch(["a", "b"], ["n"], soon()).data == [b"data", None]
    assert time.monotonic() - begun < 0.1
    other.execute("ROLLBACK")
    other.close()
    assert tier.store([entry("c")], soon()) == [True]
    assert tier.fetch(["b"], [], soon()).data == [None], "a write that was told late was not done"


def test_a_loop_is_not_held_up_by_a_long_writer(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)
    line = Line(tier, monkeypatch)

    async def main() -> tuple[float, list[bool]]:
        lag, stop = 0.0, False

        async def watch() -> None:
            nonlocal lag
            while not stop:
                before = time.monotonic()
                await asyncio.sleep(0)
                lag = max(lag, time.monotonic() - before)

        watcher = asyncio.create_task(watch())
        late = await asyncio.gather(
            *(tier.astore([entry(f"k{number}")], soon(0.2)) for number in range(50)),
            return_exceptions=True,
        )
        assert all(isinstance(error, TierTimeoutError) for error in late)
        assert (await tier.afetch(["a"], [], soon())).data == [b"data"]
        writing = asyncio.create_task(tier.astore([entry("after")], soon()))
        while not line.holds(51):  # noqa: ASYNC110 (turn by turn)
            await asyncio.sleep(0)
        other.execute("ROLLBACK")
        told = await writing
        stop = True
        await watcher
        return lag, told

    lag, told = asyncio.run(main())
    other.close()
    assert told == [True]
    assert lag < 0.1


def test_a_cancelled_write_leaves_the_line_in_order(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)
    line = Line(tier, monkeypatch)

    async def main() -> None:
        writing = asyncio.create_task(tier.astore([entry("b")], soon()))
        while not line.holds(1):  # noqa: ASYNC110 (turn by turn)
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        other.execute("ROLLBACK")
        assert await tier.astore([entry("c")], soon()) == [True]

    asyncio.run(main())
    other.close()


def test_a_loop_that_is_gone_leaves_the_line_in_order(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)
    line = Line(tier, monkeypatch)
    loop = asyncio.new_event_loop()
    task = loop.create_task(tier.astore([entry("b")], soon()))
    while not line.holds(1):
        loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    other.execute("ROLLBACK")
    other.close()
    assert tier.store([entry("c")], soon()) == [True]


def test_one_that_cannot_be_done_does_not_touch_the_others(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)
    line = Line(tier, monkeypatch)
    outcomes: dict[str, object] = {}

    def put(key: str) -> None:
        try:
            outcomes[key] = tier.store([entry(key)], soon())
        except Exception as error:
            outcomes[key] = error

    threads = [threading.Thread(target=put, args=(key,)) for key in ("b", "\ud800", "c")]
    for thread in threads:
        thread.start()
    wait_until(lambda: line.holds(3))
    other.execute("ROLLBACK")
    other.close()
    for thread in threads:
        thread.join()
    assert isinstance(outcomes.pop("\ud800"), UnicodeEncodeError)
    assert outcomes == {"b": [True], "c": [True]}


def test_the_line_is_bounded(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_JOBS", 4)
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)

    async def main() -> list[object]:
        return await asyncio.gather(
            *(tier.abump([str(number)], soon(1.0)) for number in range(20)), return_exceptions=True
        )

    outcomes = asyncio.run(main())
    other.execute("ROLLBACK")
    other.close()
    kinds = [error.kind for error in outcomes if isinstance(error, TierError)]
    assert len(kinds) == 20
    assert kinds.count("unavailable") >= 10
    assert tier.bump(["n"], soon()) == [START]


def test_close_finishes_what_stands_in_line(
    make: Callable[..., SQLiteTier], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    other = held_lock(tier)
    line = Line(tier, monkeypatch)
    told: list[list[bool]] = []
    writing = threading.Thread(target=lambda: told.append(tier.store([entry("b")], soon())))
    writing.start()
    closing = threading.Thread(target=tier.close)
    wait_until(lambda: line.holds(1))
    closing.start()
    other.execute("ROLLBACK")
    other.close()
    writing.join()
    closing.join()
    assert told == [[True]]
    assert make().fetch(["b"], [], soon()).data == [b"data"]


def test_a_thread_that_ends_gives_its_connection_back(make: Callable[..., SQLiteTier]) -> None:
    tier = make()
    tier.store([entry("a")], soon())
    before = open_files()
    for _ in range(20):
        thread = threading.Thread(target=lambda: tier.fetch(["a"], [], soon()))
        thread.start()
        thread.join()
    assert open_files() <= before + 3


def test_after_close_no_file_is_open(make: Callable[..., SQLiteTier]) -> None:
    before = open_files()
    tier = make()
    tier.store([entry("a")], soon())
    tier.fetch(["a"], [], soon())
    tier.close()
    assert open_files() == before
    assert not wal_of(tier).exists()
