"""The reaper ends what is overdue, sleeps when there is nothing to do, and goes when asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from millpond.io.reaper import NEVER, Reaper


class Watched:
    def __init__(self) -> None:
        self.at = NEVER
        self.reaped = threading.Event()
        self.when = 0.0

    def reap(self) -> None:
        self.when = time.monotonic()
        self.reaped.set()


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    reaper = Reaper(linger=0.02)
    yield reaper
    reaper.stop()


def set_deadline(reaper: Reaper, watched: Watched, at: float) -> None:
    watched.at = at
    if reaper.parked:
        reaper.wake()


def threads() -> int:
    return sum(thread.name == "millpond-reaper" for thread in threading.enumerate())


def test_what_is_overdue_is_reaped_once_and_what_is_not_is_left() -> None:
    now = [100.0]
    reaper = Reaper(clock=lambda: now[0])
    late, soon, idle = Watched(), Watched(), Watched()
    for one in (late, soon, idle):
        reaper.add(one)
    late.at, soon.at = 100.0, 100.5
    assert reaper.look() == 100.5
    assert late.reaped.is_set()
    assert late.at == NEVER
    assert not soon.reaped.is_set()
    assert not idle.reaped.is_set()
    now[0] = 100.5
    assert reaper.look() == NEVER
    assert soon.reaped.is_set()
    assert not idle.reaped.is_set()


def test_it_reaps_on_time_also_after_it_slept(reaper: Reaper) -> None:
    late = []
    for _ in range(5):
        watched = Watched()
        reaper.add(watched)
        at = time.monotonic() + 0.03
        set_deadline(reaper, watched, at)
        assert watched.reaped.wait(5)
        late.append(watched.when - at)
        end = time.monotonic() + 5
        while not reaper.parked:
            assert time.monotonic() < end
    assert min(late) >= 0
    assert min(late) < 0.02


def test_nothing_is_reaped_that_is_done_in_time(reaper: Reaper) -> None:
    watched, last = Watched(), Watched()
    reaper.add(watched)
    reaper.add(last)
    for _ in range(1000):
        set_deadline(reaper, watched, time.monotonic() + 10)
        watched.at = NEVER
    set_deadline(reaper, last, time.monotonic())
    assert last.reaped.wait(5)
    assert not watched.reaped.is_set()


def test_its_thread_starts_late_and_ends_with_the_last_it_watches() -> None:
    before = threads()
    reaper = Reaper(linger=0.01)
    watched = Watched()
    reaper.add(watched)
    assert threads() == before
    set_deadline(reaper, watched, time.monotonic())
    assert watched.reaped.wait(5)
    assert threads() == before + 1
    reaper.discard(watched)
    end = time.monotonic() + 5
    while threads() > before:
        assert time.monotonic() < end
    again = Watched()
    reaper.add(again)
    set_deadline(reaper, again, time.monotonic())
    assert again.reaped.wait(5)
    reaper.stop()
    assert threads() == before
