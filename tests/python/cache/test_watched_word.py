"""The watched word of a cache: what another process invalidates is dropped before it is served."""

from __future__ import annotations

import gc
import mmap
import struct
import subprocess
import sys
import textwrap
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import millpond as mp
from millpond.errors import ConfigurationError
from millpond.testing import ManualClock
from tests.python.cache.lease_calls import Calls


class Word:
    """A file of a page, mapped as another process would have it, and as the cache does."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(4096))
        with path.open("r+b") as file:
            self.theirs = mmap.mmap(file.fileno(), 4096)
            self.ours = mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ)

    def write(self, value: int, offset: int = 64) -> None:
        struct.pack_into("@Q", self.theirs, offset, value)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(clock: ManualClock) -> mp.Cache:
    return mp.Cache(clock=clock)


@pytest.fixture
def word(tmp_path: Path) -> Iterator[Word]:
    word = Word(tmp_path / "stamp")
    yield word
    word.theirs.close()


def test_a_change_is_seen_before_the_look_up_answers(
    cache: mp.Cache, clock: ManualClock, word: Word
) -> None:
    word.write(41)
    cache["a"] = 1
    calls = Calls(cache.clear)
    assert cache._watch_word(word.ours, 64, calls) == 41
    clock.advance(1)
    assert cache.get("a") == 1
    word.write(7, offset=72)
    clock.advance(1)
    assert cache.get("a") == 1

    word.write(42)
    clock.advance(0.001)
    assert cache.get("a") is None
    clock.advance(1)
    cache["a"] = 2
    assert cache.get("a") == 2
    assert calls.count == 1
    word.write(41)
    clock.advance(1)
    assert cache.get("a") is None


def test_a_change_while_the_function_runs_is_seen_next(
    cache: mp.Cache, clock: ManualClock, word: Word
) -> None:
    values = [2, 3]
    calls = Calls(lambda: word.write(values.pop()) if values else None)
    cache._watch_word(word.ours, 64, calls)
    word.write(1)
    for _ in range(6):
        clock.advance(1)
        cache.get("a")
    assert calls.count == 3


def test_if_its_function_raises_everything_is_dropped(
    cache: mp.Cache, clock: ManualClock, word: Word, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    cache["a"] = 1
    cache._watch_word(word.ours, 64, lambda: 1 / 0)
    word.write(1)
    clock.advance(1)
    assert cache.get("a") is None
    assert reported == [ZeroDivisionError]


def test_alarm_and_word_may_come_at_once(cache: mp.Cache, clock: ManualClock, word: Word) -> None:
    order: list[str] = []
    cache._set_alarm(1, lambda: order.append("alarm"))
    cache._watch_word(word.ours, 64, lambda: order.append("word"))
    word.write(1)
    clock.advance(1)
    cache.get("a")
    assert order == ["alarm", "word"]


def test_the_memory_is_held_while_it_is_watched(
    cache: mp.Cache, clock: ManualClock, word: Word
) -> None:
    calls = Calls()
    cache._watch_word(word.ours, 64, calls)
    with pytest.raises(BufferError):
        word.ours.close()
    assert cache._watch_word(None, 0, None) is None
    word.ours.close()
    clock.advance(1)
    cache.get("a")
    assert calls.count == 0


def test_it_may_stop_watching_in_the_function(
    cache: mp.Cache, clock: ManualClock, word: Word
) -> None:
    calls = Calls(lambda: cache._watch_word(None, 0, None))
    cache._watch_word(word.ours, 64, calls)
    for value in (1, 2):
        word.write(value)
        clock.advance(1)
        cache.get("a")
    assert calls.count == 1
    word.ours.close()


def test_another_process_is_seen_within_some_ticks(tmp_path: Path) -> None:
    path = tmp_path / "stamp"
    word = Word(path)
    cache = mp.Cache()
    cache["a"] = 1
    seen: list[float] = []
    cache._watch_word(word.ours, 64, lambda: (seen.append(time.monotonic()), cache.clear()))
    script = """
        import mmap, struct, sys, time
        with open(sys.argv[1], "r+b") as file:
            memory = mmap.mmap(file.fileno(), 4096)
        struct.pack_into("@Q", memory, 64, 12345)
        print(time.monotonic())
    """
    command = [sys.executable, "-S", "-c", textwrap.dedent(script), str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    give_up = time.monotonic() + 60
    while cache.get("a") == 1 and time.monotonic() < give_up:
        pass
    assert seen
    assert cache.get("a") is None
    written, _ = writer.communicate(timeout=60)
    assert writer.returncode == 0
    # Ten times the tick of a slow kernel: this machine may be doing something else.
    assert seen[0] - float(written) < 0.1
    word.theirs.close()


def test_what_it_refers_to_is_collected_with_the_cache(clock: ManualClock, word: Word) -> None:
    cache = mp.Cache(clock=clock)

    class Holder:
        def __init__(self, held: Any) -> None:
            self.held = held

        def __call__(self) -> None: ...

    alarm, changed = Holder(cache), Holder(cache)
    cache._set_alarm(5, alarm)
    cache._watch_word(word.ours, 64, changed)
    gone = [weakref.ref(alarm), weakref.ref(changed), weakref.ref(word.ours)]
    del alarm, changed, cache
    del word.ours
    gc.collect()
    assert [each() for each in gone] == [None, None, None]


def test_what_is_refused(cache: mp.Cache, word: Word) -> None:
    anything: Any = cache
    for seconds in (-1, float("nan"), float("inf"), 4e9):
        with pytest.raises(ConfigurationError, match="seconds"):
            cache._set_alarm(seconds, Calls())
    for offset in (-8, 4, 4095, 4092, 1 << 40):
        with pytest.raises(ConfigurationError, match="8 aligned bytes"):
            cache._watch_word(word.ours, offset, Calls())
    assert cache._watch_word(word.ours, 4088, Calls()) == 0
    for wrong in (
        lambda: anything._set_alarm(5),
        lambda: anything._set_alarm(5, None),
        lambda: anything._set_alarm("5", Calls()),
        lambda: anything._watch_word(word.ours),
        lambda: anything._watch_word(word.ours, 64, None),
        lambda: anything._watch_word(word.ours, "64", Calls()),
        lambda: anything._watch_word("text", 0, Calls()),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(OverflowError):
        cache._watch_word(word.ours, 1 << 80, Calls())
