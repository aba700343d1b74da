"""What can be decorated, and how arguments find their parameters."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
import functools
import inspect
import operator
import random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millpond as mp
from millpond.errors import KeyingError


class Bound:
    """Methods of every kind, decorated above and below."""

    loads = collections.Counter[str]()

    @mp.with_cache
    def plain(self, x: int) -> tuple[int, int]:
        self.loads["plain"] += 1
        return id(self), x

    @mp.with_cache
    async def later(self, x: int) -> tuple[int, int]:
        self.loads["later"] += 1
        return id(self), x

    @mp.with_cache
    @classmethod
    def above(cls, x: int) -> tuple[str, int]:
        cls.loads["above"] += 1
        return cls.__name__, x

    @classmethod
    @mp.with_cache
    def below(cls, x: int) -> tuple[str, int]:
        cls.loads["below"] += 1
        return cls.__name__, x

    @mp.with_cache
    @staticmethod
    def static_above(x: int) -> int:
        Bound.loads["static_above"] += 1
        return x

    @staticmethod
    @mp.with_cache
    def static_below(x: int) -> int:
        Bound.loads["static_below"] += 1
        return x


class Child(Bound):
    pass


def test_methods_of_every_kind_are_called_once_for_each_owner() -> None:
    Bound.loads.clear()
    one, two = Bound(), Child()
    for _ in range(2):
        assert one.plain(1) == (id(one), 1)
        assert two.plain(x=1) == Bound.plain(two, 1) == (id(two), 1)
        assert asyncio.run(one.later(1)) == (id(one), 1)
        assert asyncio.run(two.later(x=1)) == (id(two), 1)
        for owner in (Bound, Child, one, two):
            name = owner.__name__ if isinstance(owner, type) else type(owner).__name__
            assert owner.above(1) == owner.below(x=1) == (name, 1)
            assert owner.static_above(1) == owner.static_below(x=1) == 1
    assert Bound.loads == {
        "plain": 2,
        "later": 2,
        "above": 2,
        "below": 2,
        "static_above": 1,
        "static_below": 1,
    }


def test_instances_that_are_equal_have_entries_of_their_own() -> None:
    class Same:
        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

        @mp.with_cache
        def called(self) -> str:
            return self.name

    assert (Same("a").called(), Same("b").called()) == ("a", "b")


def test_shared_keys_an_instance_by_its_fields() -> None:
    made: list[int] = []

    @dataclasses.dataclass
    class Point:
        x: int

        @mp.with_cache(shared=True)
        def far(self, n: int) -> int:
            made.append(n)
            return self.x + n

    assert Point(1).far(2) == Point(1).far(2) == 3
    assert Point(2).far(2) == 4
    assert made == [2, 2]


def test_an_instance_without_weak_references_is_an_error_that_names_the_ways_out() -> None:
    class Slotted:
        __slots__ = ("x",)

        @mp.with_cache
        def called(self) -> int:
            return 1

        @mp.with_cache(key=lambda self: self.x)
        def keyed(self) -> Any:
            return self.x

    slotted = Slotted()
    with pytest.raises(KeyingError, match="key="):
        slotted.called()
    slotted.x = 3
    assert slotted.keyed() == 3


def test_two_classes_of_one_name_share_no_entries() -> None:
    def make(n: int) -> type:
        class Local:
            number = n

            @mp.with_cache
            @classmethod
            def of_class(cls) -> int:
                return cls.number

            @classmethod
            @mp.with_cache
            def below(cls) -> int:
                return cls.number

        return Local

    @mp.with_cache
    def number_of(owner: type, of: str = "number") -> Any:
        return getattr(owner, of)

    @mp.with_cache
    def number_in(owners: list[type]) -> Any:
        return owners[0].number  # type: ignore[attr-defined]

    classes: Any = [make(n) for n in range(3)]
    for _ in range(2):
        for n, one in enumerate(classes):
            assert (number_of(one), number_in([one]), one.of_class(), one.below()) == (n, n, n, n)


def test_instances_of_two_local_classes_share_no_entries() -> None:
    def make(n: int) -> list[Any]:
        @dataclasses.dataclass(frozen=True)
        class Record:
            x: int = 1

            def number(self) -> int:
                return n

        class Text(str):
            def number(self) -> int:
                return n

        class Pair(NamedTuple):
            a: int = 1

            def number(self) -> int:
                return n

        class Colour(enum.Enum):
            RED = 1

            def number(self) -> int:
                return n

        return [Record(), Text("a"), Pair(), Colour.RED]

    @mp.with_cache
    def number(value: Any) -> int:
        return int(value.number())

    @mp.with_cache
    def number_in(values: dict[str, Any]) -> int:
        return int(values["a"].number())

    made = [make(n) for n in range(3)]
    for _ in range(2):
        for n, values in enumerate(made):
            assert [number(value) for value in values] == [n] * 4
            assert [number_in({"a": value}) for value in values] == [n] * 4
    assert number.cache_info()[:2] == (12, 12)


@mp.with_cache
def from_elsewhere(x: int) -> int:
    return x


class Borrower:
    borrowed = from_elsewhere


def test_a_function_that_a_class_borrows_stays_callable_as_it_was() -> None:
    assert Borrower.borrowed(5) == from_elsewhere(5) == 5


def test_two_closures_share_no_entries() -> None:
    def add(n: int) -> Any:
        @mp.with_cache
        def added(x: int) -> int:
            return x + n

        return added

    one, two = add(1), add(2)
    assert [one(1), two(1), one(1), two(1)] == [2, 3, 2, 3]


def test_callables_partials_and_builtins_are_cached() -> None:
    class Doubles:
        made = 0

        def __call__(self, x: int) -> int:
            self.made += 1
            return 2 * x

    class Later:
        async def __call__(self, x: int) -> int:
            return 2 * x

    doubles = Doubles()
    cached: Any = mp.with_cache(doubles)
    assert cached(2) == cached(x=2) == 4
    assert doubles.made == 1
    assert asyncio.run(mp.with_cache(Later())(2)) == 4  # type: ignore[arg-type]

    part: Any = mp.with_cache(functools.partial(pow, 2))
    assert (part(5), part(5)) == (32, 32)
    assert part.cache_info()[:2] == (1, 1)

    for builtin, arguments in [(len, ("abc",)), (max, (1, 2)), (dict, ()), (int, ("7",))]:
        with_it: Any = mp.with_cache(builtin)
        assert with_it(*arguments) == with_it(*arguments) == builtin(*arguments)  # type: ignore[operator]
        assert with_it.cache_info()[:2] == (1, 1)
    getter: Any = mp.with_cache(operator.itemgetter(1))
    assert getter("abc") == getter("abc") == "b"


def test_decorators_stack_in_any_order() -> None:
    def twice(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs) * 2

        return wrapper

    @mp.with_cache
    @twice
    def inside(x: int, y: int = 1) -> int:
        return x

    @twice
    @mp.with_cache
    def outside(x: int) -> int:
        return x

    @mp.with_cache(ttl=1000)
    @mp.with_cache
    def both(x: int) -> int:
        return x

    assert inside(2) == inside(x=2) == inside(2, 1) == 4
    assert inside.cache_info().misses == 1
    assert outside(2) == outside(x=2) == 4
    assert both(2) == both(x=2) == 2
    assert (both.cache_info()[:2], both.__wrapped__.cache_info()[:2]) == ((1, 1), (0, 1))


def test_a_function_put_on_a_class_later_is_cached_as_well() -> None:
    class Holder:
        pass

    def named(self: Any, x: int) -> tuple[int, int]:
        return id(self), x

    Holder.named = mp.with_cache(named)  # type: ignore[attr-defined]
    one, two = Holder(), Holder()
    assert one.named(1) == one.named(1) != two.named(1)  # type: ignore[attr-defined]


NAMES = ("a", "b", "c", "d")
SHAPES: list[Any] = [
    lambda a, b, c=3, d=4: None,
    lambda a, b=2, /, c=3, *, d=4: None,
    lambda a, /, b, *, c, d=4: None,
    lambda *args, **kwargs: None,
    lambda a, *args, b, c=3: None,
    lambda a, /, **kwargs: None,
    lambda a, b=2, *args, c=3, **kwargs: None,
    lambda: None,
    lambda *, a=1: None,
    lambda a=1: None,
]
values = st.integers(0, 3)


@given(
    st.integers(0, len(SHAPES) - 1),
    st.lists(
        st.tuples(st.lists(values, max_size=5), st.dictionaries(st.sampled_from(NAMES), values)),
        min_size=2,
        max_size=8,
    ),
)
def test_calls_share_an_entry_exactly_if_inspect_binds_them_alike(
    shape: int, calls: list[tuple[list[int], dict[str, int]]]
) -> None:
    plain = SHAPES[shape]
    signature = inspect.signature(plain)
    cached = mp.with_cache(max_entries=None)(plain)
    seen: set[str] = set()
    for args, kwargs in calls:
        try:
            # Called first: inspect of 3.13.0 binds a call without its positional-only argument.
            plain(*args, **kwargs)
        except TypeError:
            with pytest.raises(TypeError):
                cached(*args, **kwargs)
            continue
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        row = repr(
            sorted(
                (name, sorted(value.items()) if isinstance(value, dict) else value)
                for name, value in bound.arguments.items()
            )
        )
        before = cached.cache_info().hits
        cached(*args, **kwargs)
        assert (cached.cache_info().hits > before) == (row in seen)
        seen.add(row)


@given(
    st.lists(st.one_of(st.integers(0, 12), st.none()), max_size=200),
    st.integers(0, 8),
    st.booleans(),
)
def test_policy_lru_does_what_lru_cache_does(
    calls: list[int | None], size: int, by_name: bool
) -> None:
    made: dict[str, list[int]] = {"theirs": [], "ours": []}

    def body(who: str, x: int) -> int:
        made[who].append(x)
        return x * 2

    theirs = functools.lru_cache(maxsize=size)(lambda x: body("theirs", x))
    ours = mp.with_cache(policy="lru", max_entries=size)(lambda x: body("ours", x))
    for x in calls:
        if x is None:
            theirs.cache_clear()
            ours.cache_clear()
        elif by_name:
            assert theirs(x=x) == ours(x=x)
        else:
            assert theirs(x) == ours(x)
        assert tuple(ours.cache_info()) == tuple(theirs.cache_info())
        assert made["ours"] == made["theirs"]


def test_long_random_sequences_evict_as_lru_cache_does() -> None:
    chance = random.Random(4)
    theirs = functools.lru_cache(maxsize=100)(lambda x: x)
    ours = mp.with_cache(policy="lru", max_entries=100)(lambda x: x)
    for _ in range(30_000):
        x = int(chance.paretovariate(0.4)) % 500
        assert theirs(x) == ours(x)
    assert tuple(ours.cache_info()) == tuple(theirs.cache_info())
