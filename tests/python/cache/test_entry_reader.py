"""`EntryReader`: which entries of a tier are good, and what is counted of the others."""

from __future__ import annotations

from typing import Any

import pytest

from millpond import _engine
from millpond.io.codecs import Codec

NAME, OTHER, TAG = (f"{number:032x}" for number in (7, 8, 0xABC << 64))
NOW = 1_000_000_000


def entry(
    value: Any = "v", stamps: Any = ((NAME, 5),), left: float = 60.0, **options: Any
) -> bytes:
    codec = Codec(**options)
    expires = NOW + int(left * 1e6)
    return codec.encode(value, key="k", stored_us=NOW, expires_us=expires, stamps=stamps, cost=0.25)


def reader(
    codec: Codec | None = None,
    cap: float | None = None,
    stale: tuple[float, float] = (0.0, 0.0),
    strict: bool = False,
) -> tuple[_engine.EntryReader, _engine.TierMonitor]:
    monitor = _engine.TierMonitor("t")
    monitor.cap = cap
    codec = codec or Codec()
    source = _engine.source_id("t")
    made = _engine.EntryReader(
        monitor, source, lambda: NOW, (monitor,), codec.terms, codec.opened, *stale, strict
    )
    return made, monitor


def counted(monitor: _engine.TierMonitor) -> dict[str, int]:
    counts = monitor.snapshot()
    return {
        name: number
        for name, number in {"hit": counts["hits"], **counts["misses"]}.items()
        if number
    }


@pytest.mark.parametrize(
    ("data", "stamp", "what"),
    [
        (entry(), 5, "hit"),
        (entry(stamps=()), 5, "hit"),
        (None, 5, "absent"),
        (entry(), 6, "stale_generation"),
        (entry(), None, "stale_generation"),
        (entry(left=0), 5, "expired"),
        (b"junk", 5, "unreadable"),
        (entry()[:-1], 5, "unreadable"),
        (bytearray(entry()), 5, "unreadable"),
        (entry(max_value_bytes=1 << 20), 5, "hit"),
    ],
)
def test_each_entry_is_good_or_counted_by_its_reason(data: Any, stamp: Any, what: str) -> None:
    made, monitor = reader()
    found, seen, later, unknown, past = made.read(
        ["k"], [data], ([NAME], [stamp]), None, None, True, False
    )
    assert counted(monitor) == {what: 1}
    assert not later
    assert not unknown
    assert not past
    if what == "hit":
        assert found["k"].value == "v"
        assert found["k"].cost == 0.25
        assert (found["k"].fresh, found["k"].stale, found["k"].past) == (60.0, 0.0, False)
        assert found["k"].tags == ()
        assert seen == b""
    else:
        assert not found
        assert seen == (data or b"")


@pytest.mark.parametrize(
    ("names", "good"),
    [((NAME, OTHER), True), ((OTHER, NAME), True), ((NAME,), False), ((NAME, NAME), False)],
)
def test_what_was_stored_without_a_generation_of_the_call_is_not_good(
    names: tuple[str, ...], good: bool
) -> None:
    data = entry(stamps=[(name, 5) for name in names])
    for strict in (True, False):
        made, monitor = reader(strict=strict)
        found, *_ = made.read(["k"], [data], ([NAME, OTHER], [5, 5]), None, None, True, False)
        assert bool(found) is (good or not strict)
        assert counted(monitor) == {"hit" if found else "stale_generation": 1}


def test_what_is_not_plain_goes_to_the_codec() -> None:
    packed = Codec(compress=True)
    big = "x" * 100_000
    data = packed.encode(big, key="k", stored_us=NOW, expires_us=NOW + 10**6, stamps=())
    made, monitor = reader(packed)
    found, *_ = made.read(["k"], [data], ([], []), None, None, True, False)
    assert found["k"].value == big
    typed = Codec(list[int])
    made, monitor = reader(typed)
    found, seen, *_ = made.read(["k"], [data], ([], []), None, None, True, False)
    assert not found
    assert seen == data
    assert counted(monitor) == {"unreadable": 1}


def test_generations_that_only_the_entry_knows_are_asked_for() -> None:
    made, monitor = reader()
    data = entry(stamps=((NAME, 5), (TAG, 9)))
    present = ([NAME], [5])
    found, _, later, unknown, _ = made.read(["k"], [data], present, None, None, True, False)
    assert (found, later, unknown) == ({}, ["k"], [TAG])
    assert counted(monitor) == {}
    found, *_ = made.read(["k"], [data], present, ([TAG], [9]), None, True, False)
    assert found["k"].tags == (0xABC,)
    found, seen, *_ = made.read(["k"], [data], present, ([TAG], [10]), None, True, False)
    assert (found, seen) == ({}, data)
    assert counted(monitor) == {"hit": 1, "stale_generation": 1}


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize(
    ("stale", "over", "what"),
    [
        ((30.0, 60.0), -1, "fresh"),
        ((30.0, 60.0), 0, "served"),
        ((30.0, 60.0), 29, "served"),
        ((30.0, 60.0), 30, "kept"),
        ((60.0, 30.0), 59, "served"),
        ((0.0, 30.0), 29, "kept"),
        ((0.0, 30.0), 30, "over"),
        ((0.0, 0.0), 0, "over"),
        ((90.0, 90.0), 80, "over"),  # The entry's own end comes first.
    ],
)
def test_what_is_past_its_life_is_good_as_far_as_the_rules_allow(
    stale: tuple[float, float], over: float, what: str, anew: bool
) -> None:
    """Of an entry that is kept for 80 seconds past its life."""
    end = NOW + int((80 - over) * 1e6)
    fresh = NOW - int(over * 1e6)
    data = Codec().encode("v", key="k", stored_us=0, expires_us=end, fresh_us=fresh)
    made, monitor = reader(stale=stale)
    found, seen, *_, past = made.read(["k"], [data], ([], []), None, None, True, anew)
    if what == "served" and anew:
        what = "kept"  # Who loads it anew has no use for it unless that fails.
    if what == "over":
        assert (found, past, seen) == ({}, {}, data)
        assert counted(monitor) == {"expired": 1}
        return
    one = (past if what == "kept" else found)["k"]
    assert (one.value, one.fresh, one.stale, one.past) == ("v", -over, 80, what != "fresh")
    assert (seen, len(found), len(past)) == ((data, 0, 1) if what == "kept" else (b"", 1, 0))
    assert (
        counted(monitor) == {"fresh": {"hit": 1}, "served": {"hit": 1}, "kept": {"stale": 1}}[what]
    )
    assert monitor.snapshot()["stale_hits"] == (what == "served")


def test_many_entries_are_read_at_once() -> None:
    made, monitor = reader()
    keys = [str(number) for number in range(50)]
    data = [None if number % 5 == 0 else entry(number) for number in range(50)]
    found, *_ = made.read(keys, data, ([OTHER, NAME], [1, 5]), None, None, True, False)
    assert {key: one.value for key, one in found.items()} == {
        str(number): number for number in range(50) if number % 5
    }
    assert counted(monitor) == {"hit": 40, "absent": 10}


def test_memory_keeps_a_value_for_the_least_of_what_limits_it() -> None:
    _, monitor = reader()
    _, capped = reader(cap=5.0)
    assert _engine.memory_life(None, None, (monitor,)) is None
    assert _engine.memory_life(60.0, None, (monitor,)) == 60.0
    assert _engine.memory_life(60.0, 10.0, (monitor,)) == 10.0
    assert _engine.memory_life(60.0, 10.0, (monitor, capped)) == 5.0
    capped.cap = None
    assert _engine.memory_life(60.0, 10.0, (monitor, capped)) == 10.0


@pytest.mark.parametrize("cap", [-1.0, float("nan"), 1, "5"])
def test_a_cap_is_seconds(cap: Any) -> None:
    monitor = _engine.TierMonitor("t")
    with pytest.raises((ValueError, TypeError)):
        monitor.cap = cap
    assert monitor.cap is None


@pytest.mark.parametrize(
    "args",
    [
        (["k"], [], ([], []), None, None, True, False),
        (["k"], [None], ([NAME], []), None, None, True, False),
        (["k"], [None], (["short"], [1]), None, None, True, False),
    ],
)
def test_an_answer_that_does_not_fit_the_question_is_an_error(args: Any) -> None:
    with pytest.raises(ValueError):
        reader()[0].read(*args)
