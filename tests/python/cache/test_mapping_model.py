"""`Cache` as a mapping against a plain dict with deadlines, the clock stepping both ways."""

from __future__ import annotations

import fnmatch
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import millpond as mp
from millpond._engine import ManualClock
from millpond.errors import OptionTypeError, UnsupportedError

KEYS = st.sampled_from(["a", "ab", "abc", "b", "ba", "c"])
VALUES = st.integers(-3, 3)
WEIGHTS = st.integers(1, 10)
LIVES = st.sampled_from([None, 1, 5, 20])
TAGS = st.sets(st.sampled_from(["red", "green", "blue"]), max_size=2)
STEPS = st.sampled_from([0.5, 1, 3, 10, -0.5, -4])


class Entry:
    def __init__(self, value: int, deadline: float, tags: set[str]) -> None:
        self.value = value
        self.deadline = deadline
        self.tags = tags


class Mapping(RuleBasedStateMachine):
    """A cache without bounds, so that all that is missing has expired or was removed."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.now = self.furthest = 0.0
        # What was once expired is gone, even if the clock then steps back: the model sweeps too.
        self.model: dict[str, Entry] = {}
        self.cache = mp.Cache(clock=self.clock)

    def sweep(self) -> None:
        self.model = {k: e for k, e in self.model.items() if e.deadline > self.now}

    def live(self, key: str) -> Entry | None:
        return self.model.get(key)

    def put(self, key: str, value: int, ttl: int | None, tags: set[str]) -> None:
        deadline = math.inf if ttl is None else self.now + ttl
        self.model[key] = Entry(value, deadline, tags)

    @rule(step=STEPS)
    def time_passes(self, step: float) -> None:
        self.clock.advance(step)
        self.now += step
        self.sweep()
        # While a clock is behind where it once was, what expires is counted until it is looked up.
        self.furthest = max(self.furthest, self.now)
        if self.now == self.furthest:
            assert len(self.cache) == len(self.model)

    @rule(key=KEYS, value=VALUES, ttl=LIVES, tags=TAGS)
    def set(self, key: str, value: int, ttl: Any, tags: set[str]) -> None:
        assert self.cache.set(key, value, ttl=ttl, tags=tuple(tags))
        self.put(key, value, ttl, tags)

    @rule(key=KEYS, value=VALUES)
    def assign(self, key: str, value: int) -> None:
        self.cache[key] = value
        self.put(key, value, None, set())

    @rule(key=KEYS, value=VALUES, ttl=LIVES)
    def add(self, key: str, value: int, ttl: Any) -> None:
        absent = self.live(key) is None
        assert self.cache.add(key, value, ttl=ttl) is absent
        if absent:
            self.put(key, value, ttl, set())

    @rule(key=KEYS, value=VALUES, ttl=LIVES)
    def get_or_set(self, key: str, value: int, ttl: Any) -> None:
        there = self.live(key)
        assert self.cache.get_or_set(key, value, ttl=ttl) == (there.value if there else value)
        if there is None:
            self.put(key, value, ttl, set())

    @rule(key=KEYS, ttl=LIVES)
    def touch(self, key: str, ttl: Any) -> None:
        there = self.live(key)
        assert self.cache.touch(key, ttl=ttl) is (there is not None)
        if there is not None:
            there.deadline = math.inf if ttl is None else self.now + ttl

    @rule(key=KEYS, amount=VALUES, down=st.booleans(), ttl=LIVES)
    def count(self, key: str, amount: int, down: bool, ttl: Any) -> None:
        by = -amount if down else amount
        there = self.live(key)
        counted = (self.cache.decr if down else self.cache.incr)(key, amount, ttl=ttl)
        assert counted == (there.value if there else 0) + by
        if there is None:
            self.put(key, by, ttl, set())
        else:
            there.value = counted

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.cache.delete(key) is (self.model.pop(key, None) is not None)

    @rule(key=KEYS)
    def delete_item(self, key: str) -> None:
        if self.model.pop(key, None) is None:
            with pytest.raises(KeyError):
                del self.cache[key]
        else:
            del self.cache[key]

    @rule(key=KEYS, default=st.booleans())
    def pop(self, key: str, default: bool) -> None:
        there = self.model.pop(key, None)
        if there is not None:
            assert self.cache.pop(key) == there.value
        elif default:
            assert self.cache.pop(key, "none") == "none"
        else:
            with pytest.raises(KeyError):
                self.cache.pop(key)

    @rule(values=st.dictionaries(KEYS, VALUES, max_size=4), ttl=LIVES, tags=TAGS)
    def set_many(self, values: dict[str, int], ttl: Any, tags: set[str]) -> None:
        assert self.cache.set_many(values, ttl=ttl, tags=tuple(tags)) == len(values)
        for key, value in values.items():
            self.put(key, value, ttl, tags)

    @rule(keys=st.sets(KEYS))
    def get_many(self, keys: set[str]) -> None:
        wanted = {key: self.model[key].value for key in keys if key in self.model}
        assert self.cache.get_many(keys) == wanted

    @rule(keys=st.sets(KEYS))
    def delete_many(self, keys: set[str]) -> None:
        there = [key for key in keys if self.model.pop(key, None) is not None]
        assert self.cache.delete_many(keys) == len(there)

    def removed(self, doomed: Any) -> int:
        keys = [key for key, entry in self.model.items() if doomed(key, entry)]
        for key in keys:
            del self.model[key]
        return len(keys)

    @rule(tags=TAGS)
    def invalidate_tags(self, tags: set[str]) -> None:
        assert self.cache.invalidate(tags=tags) == self.removed(
            lambda _, entry: bool(entry.tags & tags)
        )

    @rule(prefix=st.sampled_from(["a", "ab", "x", ""]))
    def invalidate_prefix(self, prefix: str) -> None:
        assert self.cache.invalidate(prefix=prefix) == self.removed(
            lambda key, _: key.startswith(prefix)
        )

    @rule(glob=st.sampled_from(["a*", "?", "[bc]*", "z"]))
    def invalidate_glob(self, glob: str) -> None:
        assert self.cache.invalidate(glob=glob) == self.removed(
            lambda key, _: fnmatch.fnmatchcase(key, glob)
        )

    @rule(regex=st.sampled_from(["a.$", "b", "(c|ab)"]), ready=st.booleans())
    def invalidate_regex(self, regex: str, ready: bool) -> None:
        pattern: Any = re.compile(regex) if ready else regex
        assert self.cache.invalidate(regex=pattern) == self.removed(
            lambda key, _: re.match(regex, key) is not None
        )

    @rule(length=st.integers(1, 3))
    def invalidate_predicate(self, length: int) -> None:
        assert self.cache.invalidate(predicate=lambda key: len(key) == length) == self.removed(
            lambda key, _: len(key) == length
        )

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.model.clear()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        wanted = {key: entry.value for key, entry in self.model.items()}
        assert dict(self.cache.items()) == wanted
        assert sorted(self.cache) == sorted(self.cache.keys()) == sorted(wanted)
        assert sorted(self.cache.values()) == sorted(wanted.values())
        for key in ("a", "ab", "abc", "b", "ba", "c"):
            entry = self.model.get(key)
            assert (key in self.cache) is (entry is not None)
            assert self.cache.get(key) == (entry.value if entry else None)
            left = self.cache.ttl(key)
            if entry is None:
                assert left is None
            else:
                assert left == pytest.approx(entry.deadline - self.now)
        assert len(self.cache) == len(wanted)


class Bounded(RuleBasedStateMachine):
    """A cache with bounds: they hold, what is there is right, and the listener hears what goes."""

    @initialize(
        policy=st.sampled_from(["lru", "lfu", "fifo", "sieve", "s3fifo"]),
        entries=st.sampled_from([3, None]),
        weight=st.sampled_from([8, None]),
    )
    def start(self, policy: Any, entries: int | None, weight: int | None) -> None:
        self.clock = ManualClock()
        self.now = 0.0
        self.model: dict[str, Entry] = {}
        self.heard: list[tuple[str, int, str]] = []
        self.entries, self.weight = entries, weight
        self.cache = mp.Cache(
            max_entries=entries,
            max_bytes=weight,
            policy=policy,
            weigher=abs,
            clock=self.clock,
            on_removal=lambda *left: self.heard.append(left),
        )

    def expect(self, *wanted: tuple[str, int, str]) -> None:
        """The listener heard this, in any order, and else of nothing but what had to make room."""
        len(self.cache)  # Where the clock went back, what was heard late is heard now.
        heard, self.heard = self.heard, []
        for left in wanted:
            heard.remove(left)
        for key, value, cause in heard:
            gone = self.model.pop(key)
            assert gone.value == value
            assert cause == "size" or (cause == "expired" and gone.deadline <= self.now)

    @rule(step=STEPS)
    def time_passes(self, step: float) -> None:
        self.clock.advance(step)
        self.now += step
        for key in list(self.model):
            self.cache.get(key)  # What has expired leaves when it is looked up, if not before.
        self.expect()

    @rule(key=KEYS, value=WEIGHTS, ttl=LIVES, tags=TAGS)
    def set(self, key: str, value: int, ttl: Any, tags: set[str]) -> None:
        fits = self.weight is None or value <= self.weight
        assert self.cache.set(key, value, ttl=ttl, tags=tuple(tags)) is fits
        before = self.model.pop(key, None)
        if fits:
            deadline = math.inf if ttl is None else self.now + ttl
            self.model[key] = Entry(value, deadline, tags)
        self.expect(*([(key, before.value, "replaced")] if before else []))
        assert not fits or key in self.cache or self.model.get(key) is None

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        there = self.model.get(key)
        assert self.cache.get(key) == (there.value if there else None)

    @rule(key=KEYS, amount=st.integers(1, 4))
    def count(self, key: str, amount: int) -> None:
        before = self.model.pop(key, None)
        counted = (before.value if before else 0) + amount
        assert self.cache.incr(key, amount) == counted
        if self.weight is None or counted <= self.weight:
            life = (before.deadline, before.tags) if before else (math.inf, set())
            self.model[key] = Entry(counted, *life)
        self.expect(*([(key, before.value, "replaced")] if before else []))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        there = self.model.pop(key, None)
        assert self.cache.delete(key) is (there is not None)
        self.expect(*([(key, there.value, "explicit")] if there else []))

    @rule(tags=TAGS)
    def invalidate(self, tags: set[str]) -> None:
        doomed = [key for key, entry in self.model.items() if entry.tags & tags]
        assert self.cache.invalidate(tags=tags) == len(doomed)
        self.expect(*[(key, self.model.pop(key).value, "explicit") for key in doomed])

    @invariant()
    def keeps_the_bounds(self) -> None:
        held = dict(self.cache.items())
        assert held == {key: entry.value for key, entry in self.model.items()}
        assert self.entries is None or len(self.cache) <= self.entries
        stats = self.cache.stats()
        assert stats.bytes == sum(held.values())
        assert self.weight is None or stats.bytes <= self.weight


TestMapping = Mapping.TestCase
TestMapping.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBounded = Bounded.TestCase
TestBounded.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_counter_goes_on_living_while_it_is_used_and_no_longer_than_it_may() -> None:
    clock = ManualClock()
    cache = mp.Cache(clock=clock, tti=10, ttl=100)
    for count in range(1, 8):
        assert cache.incr("n") == count
        clock.advance(8)
    clock.advance(3)
    assert cache.incr("n") == 1

    brief = mp.Cache(clock=clock)
    for count in range(1, 4):
        assert brief.incr("n", tti=10) == count
        clock.advance(9)
    cache = mp.Cache(clock=clock, tti=10, ttl=30)
    for count in range(1, 5):
        assert cache.incr("n") == count
        clock.advance(7.4)
    clock.advance(1)
    assert cache.incr("n") == 1


def test_every_kind_of_key_is_found_again_and_listed_as_it_was_given() -> None:
    keys: list[Any] = [1, 1.0, True, "1", b"1", None, (1, 2), [1, 2], {"a": [1]}, 2**80, object()]
    cache = mp.Cache()
    for number, key in enumerate(keys):
        cache[key] = number
    assert [cache[key] for key in keys] == list(range(len(keys)))
    assert {repr(key) for key in cache} == {repr(key) for key in keys}
    for key in keys:
        del cache[key]
    assert len(cache) == 0


def test_ways_of_invalidating_refuse_what_they_cannot_do() -> None:
    cache = mp.Cache()
    cache[1] = 1
    for way in ({"prefix": "a"}, {"glob": "*"}, {"regex": "a"}):
        with pytest.raises(UnsupportedError):
            cache.invalidate(**way)  # type: ignore[arg-type]
    with pytest.raises(OptionTypeError):
        cache.invalidate()
    with pytest.raises(OptionTypeError):
        cache.invalidate(tags="a", prefix="b")
    assert cache.invalidate(predicate=lambda key: key == 1) == 1
    with pytest.raises(OptionTypeError):
        cache.set("a", 1, tags=(1,))  # type: ignore[arg-type]


def test_counting_what_is_no_int_is_refused_and_changes_nothing() -> None:
    cache = mp.Cache()
    cache["a"] = "text"
    with pytest.raises(OptionTypeError):
        cache.incr("a")
    with pytest.raises(TypeError):
        cache.incr("b", 1.5)  # type: ignore[arg-type]
    assert dict(cache.items()) == {"a": "text"}


def test_listeners_hear_every_cause() -> None:
    heard: list[tuple[Any, Any, str]] = []
    clock = ManualClock()
    cache = mp.Cache(
        max_entries=2, policy="fifo", clock=clock, on_removal=lambda *left: heard.append(left)
    )
    cache.set("a", 1, ttl=5)
    cache["b"] = 2
    cache["b"] = 3
    clock.advance(6)
    assert cache.get("a") is None
    cache["c"] = 4
    cache["d"] = 5
    cache.delete("c")
    cache.clear()
    cache["e"] = 6
    assert heard[:4] == [
        ("b", 2, "replaced"),
        ("a", 1, "expired"),
        ("b", 3, "size"),
        ("c", 4, "explicit"),
    ]
    assert ("d", 5, "explicit") in heard


def test_values_that_serve_one_reader_are_refused() -> None:
    cache = mp.Cache()
    with Path(__file__).open() as file:
        for value in (iter(()), (x for x in ()), file):
            with pytest.raises(mp.MillpondError):
                cache["a"] = value
    assert len(cache) == 0


def test_len_and_stats_count_the_living_however_many_died_at_once() -> None:
    clock = ManualClock()
    cache = mp.Cache(clock=clock)
    cached = mp.with_cache(lambda x: x, cache=cache, ttl=10)
    for number in range(1000):
        cache.set(number, number, ttl=10)
        cached(number)
    cache["lasting"] = 1
    clock.advance(10)
    assert cached.cache_info().currsize == 0
    assert (len(cache), cache.stats().currsize) == (1, 1)


def test_len_counts_the_living_after_the_clock_stepped_back() -> None:
    clock = ManualClock()
    cache = mp.Cache(clock=clock)
    cache.set("early", 1, ttl=5)
    clock.advance(100)
    assert len(cache) == 0
    clock.advance(-50)
    cache.set("a", 1, ttl=10)
    cache.set("b", 1, ttl=30)
    assert len(cache) == 2
    clock.advance(10)
    assert (len(cache), cache.stats().expirations) == (1, 2)
    clock.advance(20)
    assert len(cache) == 0
