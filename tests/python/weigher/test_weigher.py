"""The default weigher equals a plain model on builtins, and runs no user code on anything else."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import random
import sys
import types
import uuid
from typing import Any, NamedTuple

import pytest

from millpond._engine import MAX_WEIGHED_PARTS, weigh
from tests.python.weigher import model

SMALL = [None, True, False, ..., NotImplemented, 0, -5, 256]
LEAVES = [
    -6,
    257,
    2**30 - 1,
    2**30,
    -(2**3000),
    1.5,
    2j,
    "",
    "plain",
    "naïve",
    "水車",
    "🌊",
    "x" * 1_000_000,
    "é" * 1_000_000,
    b"",
    b"bytes" * 100,
    bytearray(b"bytes" * 100),
    range(10**9),
    array.array("d", range(1000)),
    decimal.Decimal("1." + "3" * 500),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
]


@pytest.mark.parametrize("value", SMALL, ids=repr)
def test_what_the_interpreter_keeps_anyway_weighs_nothing(value: object) -> None:
    assert weigh(value) == 0
    assert weigh([value] * 3) == sys.getsizeof([value] * 3)


@pytest.mark.parametrize("value", LEAVES, ids=lambda value: type(value).__name__)
def test_a_leaf_weighs_what_getsizeof_says(value: object) -> None:
    assert weigh(value) == sys.getsizeof(value) == model.weigh(value)


@pytest.mark.parametrize(
    "value",
    [object, sys, model.weigh, len, [].append, (lambda: 0).__code__, sys._getframe()],
    ids=lambda value: type(value).__name__,
)
def test_what_belongs_to_the_program_weighs_nothing(value: object) -> None:
    assert weigh([value]) == sys.getsizeof([value])


def sample(rng: random.Random, depth: int, shared: list[Any]) -> Any:
    """A random tree of builtins, with parts that are reached twice and cycles."""
    choice = rng.randrange(16 if depth else 8)
    if choice < 4:
        return rng.choice([*SMALL, rng.randrange(-1000, 10**20), rng.random(), str(rng.random())])
    if choice < 7:
        text = "".join(rng.choices("aé水🌊", k=rng.randrange(20)))
        return rng.choice([text, text.encode(), bytearray(text.encode()), uuid.UUID(int=7).hex])
    if choice == 7:
        return rng.choice(shared) if shared else ()
    parts = [sample(rng, depth - 1, shared) for _ in range(rng.randrange(6))]
    keys = [rng.choice([f"key{i}", i * 1000, (i, str(i)), b"%d" % i]) for i in range(len(parts))]
    items = list(zip(keys, parts, strict=True))
    value: Any = [
        list(parts),
        tuple(parts),
        dict(items),
        set(keys),
        frozenset(keys),
        collections.deque(parts),
        collections.OrderedDict(items),
        collections.defaultdict(list, items),
    ][choice - 8]
    if isinstance(value, list) and rng.random() < 0.2:
        value.append(value)
    shared.append(value)
    return value


@pytest.mark.parametrize("seed", range(300))
def test_trees_of_builtins_weigh_what_the_model_says(seed: int) -> None:
    value = sample(random.Random(seed), 5, [])
    assert weigh(value) == model.weigh(value)


def test_a_part_reached_twice_counts_once_and_a_cycle_ends() -> None:
    part = "shared" * 100
    assert weigh([part, part]) == weigh([part, None])
    cycle: list[Any] = [part, {}]
    cycle[1]["back"] = cycle
    assert weigh(cycle) == model.weigh(cycle)


def test_more_shared_parts_than_fit_on_the_stack_still_count_once() -> None:
    parts = [f"part {i}" for i in range(5000)]
    assert weigh([parts, parts[::-1]]) == model.weigh([parts, parts[::-1]])


def test_parts_shared_between_two_values_count_for_each() -> None:
    part = "shared" * 100
    assert weigh([part]) == weigh([part]) == sys.getsizeof([part]) + sys.getsizeof(part)


class Point(NamedTuple):
    x: str
    y: list[str]


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self) -> None:
        self.a = "a" * 1000
        self.b = ["b" * 1000]


class SlottedChild(Slotted):
    __slots__ = ("c",)

    def __init__(self) -> None:
        super().__init__()
        self.c = "c" * 1000


@pytest.mark.parametrize("value", [Point("x" * 99, ["y" * 99]), Slotted(), SlottedChild()])
def test_named_tuples_and_slots_weigh_what_the_model_says(value: object) -> None:
    assert weigh(value) == model.weigh(value)


def test_an_empty_slot_is_no_part() -> None:
    value = Slotted()
    full = weigh(value)
    del value.a
    assert weigh(value) == full - sys.getsizeof("a" * 1000)


class Plain:
    def __init__(self) -> None:
        self.name = "n" * 1000
        self.tags = ["t" * 1000]


@dataclasses.dataclass
class Record:
    name: str = "n" * 1000
    tags: list[str] = dataclasses.field(default_factory=lambda: ["t" * 1000])


class Table(dict[str, str]):
    def __init__(self) -> None:
        super().__init__(key="v" * 1000)
        self.note = "n" * 1000


class Row(list[str]):
    def __init__(self) -> None:
        super().__init__(["v" * 1000])
        self.note = "n" * 1000


class Label(str):
    pass


@pytest.mark.parametrize("make", [Plain, Record, Table, Row, lambda: Label("v" * 1000)])
def test_attributes_count_with_storage_estimated_at_a_pointer_each(make: Any) -> None:
    value = make()
    exact = model.weigh(value)
    assert exact <= weigh(value) <= exact + 64


@pytest.mark.parametrize("make", [Plain, Record, Table, Row])
def test_looking_at_the_attribute_dict_first_changes_little(make: Any) -> None:
    value = make()
    before = weigh(value)
    assert value.__dict__
    # The dict itself and its keys now exist and count; the values still count once.
    keys = sum(map(sys.getsizeof, value.__dict__))
    assert before <= weigh(value) <= before + sys.getsizeof(value.__dict__) + keys + 16


def test_weighing_does_not_make_an_attribute_dict() -> None:
    value = Plain()
    before = gc.get_referents(value)
    weigh(value)
    assert [id(part) for part in gc.get_referents(value)] == [id(part) for part in before]


class Hostile:
    """Raises from everything that a careless weigher might call."""

    def __init__(self) -> None:
        object.__setattr__(self, "payload", "p" * 1000)

    def refuse(self, *_: object) -> Any:
        raise AssertionError("user code ran")

    __sizeof__ = __eq__ = __hash__ = __len__ = __iter__ = __bool__ = __repr__ = refuse  # type: ignore[assignment]
    __getattribute__ = __setattr__ = __instancecheck__ = __del__ = refuse  # type: ignore[assignment]


def test_no_user_code_runs() -> None:
    value = Hostile()
    assert 1000 < weigh([value, value, {1: value}]) < 2000
    Hostile.__del__ = lambda self: None  # type: ignore[method-assign]


class LyingDict(dict[str, str]):
    def __sizeof__(self) -> int:
        raise AssertionError("user code ran")

    def __iter__(self) -> Any:
        raise AssertionError("user code ran")


def test_a_python_sizeof_is_passed_over_for_the_builtin_below_it() -> None:
    value = LyingDict({str(i): "v" * 100 for i in range(100)})
    assert weigh(value) >= weigh(dict(value.items()))


class Borrowed:
    __sizeof__ = list.__sizeof__  # type: ignore[assignment]


def test_a_sizeof_borrowed_from_another_type_is_not_called() -> None:
    assert 0 < weigh(Borrowed()) < 200


class Color(enum.Enum):
    RED = "red" * 100


def test_methods_and_partials_weigh_what_they_hold() -> None:
    value = Slotted()
    assert weigh(value.__init__) >= weigh(value)
    assert weigh(functools.partial(print, "x" * 1000)) > 1000
    assert weigh(Color.RED) > 300
    assert weigh(types.SimpleNamespace(a="x" * 1000)) > 1000
    assert weigh(types.MappingProxyType({"a": "x" * 1000})) > 1000
    assert weigh(memoryview(b"x" * 1000)) > 1000


def test_an_exception_does_not_weigh_the_stack_it_was_raised_on() -> None:
    ballast = ["b" * 100_000]
    with pytest.raises(ValueError, match="v") as caught:
        raise ValueError("v" * 1000)
    assert caught.value.__traceback__ is not None
    assert 1000 < weigh(caught.value) < 5000
    del ballast


def test_types_that_come_and_go_are_not_confused() -> None:
    for i in range(2000):
        bases: tuple[type, ...] = (list,) if i % 2 else (object,)
        kind = type(f"Kind{i}", bases, {"__slots__": ("part",)})
        value = kind()
        value.part = "p" * i
        expected = model.weigh(value)
        assert weigh(value) == expected
        del kind, value
        gc.collect(0)


def test_nesting_a_million_deep_does_not_overflow_the_stack() -> None:
    value: list[Any] = []
    for _ in range(10**6):
        value = [value]
    assert weigh(value) >= (MAX_WEIGHED_PARTS - 1) * sys.getsizeof([None])


def test_up_to_the_cap_the_weight_is_exact() -> None:
    value = [str(i + 1000) for i in range(MAX_WEIGHED_PARTS)]
    assert weigh(value) == sys.getsizeof(value) + sum(map(sys.getsizeof, value))


@pytest.mark.parametrize("make", [list, tuple, set, collections.deque, dict.fromkeys])
def test_past_the_cap_equal_parts_are_extrapolated(make: Any) -> None:
    value = make([f"{i:09}" for i in range(10 * MAX_WEIGHED_PARTS)])
    exact = sys.getsizeof(value) + len(value) * sys.getsizeof("123456789")
    assert weigh(value) == pytest.approx(exact, rel=0.01)


def test_past_the_cap_containers_are_extrapolated_by_their_siblings() -> None:
    rows = [{"id": str(i), "text": "é" * 50 + str(i)} for i in range(MAX_WEIGHED_PARTS)]
    assert weigh(rows) == pytest.approx(model.weigh(rows), rel=0.05)


def test_past_the_cap_lopsided_nesting_is_not_blown_up() -> None:
    value: list[Any] = []
    for i in range(2 * MAX_WEIGHED_PARTS):
        value = [value, f"leaf {i}"]
    assert weigh(value) < 2 * 200 * MAX_WEIGHED_PARTS


def test_the_same_part_many_times_is_quick_to_give_up_on() -> None:
    part = "p" * 1000
    value = [part] * (100 * MAX_WEIGHED_PARTS)
    assert weigh(value) == pytest.approx(sys.getsizeof(value) + sys.getsizeof(part), rel=0.01)


def test_weighing_leaves_no_references_behind() -> None:
    part = object()
    value = [part, {part: (part,)}, {part}]
    before = sys.getrefcount(part)
    for _ in range(100):
        weigh(value)
    assert sys.getrefcount(part) == before
