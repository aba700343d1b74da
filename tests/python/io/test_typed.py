"""Values of annotated types: msgpack where they come back the same, else tagged, else nothing."""

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import subprocess
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.errors import ConfigurationError, MissingExtraError
from millpond.io.codecs import Codec, Unencodable, Unreadable
from millpond.io.exact import is_within, same
from tests.python.io import same as model
from tests.python.io import values
from tests.python.io.values import berlin, utc

ROOT = pathlib.Path(__file__).parents[3]
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "r"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Everything:
    number: int
    ratio: float
    name: str
    raw: bytes
    mutable: bytearray
    nothing: None
    flag: bool
    maybe: int | None
    choice: Literal["a", 1]
    colour: Colour
    day: datetime.date
    at: datetime.datetime
    of_day: datetime.time
    took: datetime.timedelta
    ident: uuid.UUID
    price: decimal.Decimal
    items: list[Point]
    pair: tuple[int, str]
    many: tuple[Frozen, ...]
    members: set[int]
    frozen: frozenset[str]
    by_name: dict[str, Point]
    by_number: dict[int, list[float]]
    anything: Any
    path: pathlib.Path
    array: np.ndarray
    share: fractions.Fraction
    steps: range
    wave: complex
    child: "Everything | None" = None


def everything(**changes: Any) -> Everything:
    made = Everything(
        *(1, 0.1, "n", b"\xff", bytearray(b"m"), None, True, None, 1, Colour.RED),
        datetime.date(2024, 2, 29),
        datetime.datetime(2024, 1, 1, 2, 3, 4, 5, utc),
        *(datetime.time(1, 2, 3, 4), datetime.timedelta(-1, 5, 6), uuid.UUID(int=7)),
        *(decimal.Decimal("1.00"), [Point(1), Point(2, -0.0)], (1, "a"), (Frozen("a", ("b",)),)),
        *({1, 2}, frozenset({"a"}), {"p": Point(3)}, {1: [1.5]}, {"k": [1, None, "x", 2.5]}),
        *(pathlib.Path("/a"), np.arange(3.0), fractions.Fraction(1, 3), range(5), 1 + 2j),
    )
    return dataclasses.replace(made, **changes)


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Row(TypedDict, total=False):
    name: str
    points: list[Point]


class Record(msgspec.Struct, array_like=True):
    name: str
    at: datetime.datetime


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str]


class Inner(pydantic.BaseModel):
    number: int = 5
    at: datetime.datetime | None = None


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(alias="fullName", default="")
    inner: Inner = Inner()
    price: decimal.Decimal = decimal.Decimal("1.0")
    more: dict[str, list[Inner]] = {}

    model_config = pydantic.ConfigDict(extra="allow")


class Loose(pydantic.BaseModel):
    anything: Any = None
    secret: pydantic.SecretStr = pydantic.SecretStr("")
    hidden: int = pydantic.Field(default=0, exclude=True)


class Shouting(pydantic.BaseModel):
    text: str

    @pydantic.field_validator("text")
    @classmethod
    def _louder(cls, text: str) -> str:
        return text + "!"


@dataclasses.dataclass
class Checked:
    text: str

    def __post_init__(self) -> None:
        self.text = self.text.strip()


@dataclasses.dataclass
class Growing:
    text: str

    def __post_init__(self) -> None:
        self.text += "!"


Number = NewType("Number", int)


def entry(codec: Codec, value: Any) -> bytes:
    return codec.encode(value, key="k", stored_us=10, expires_us=20)


def there_and_back(annotation: Any, value: Any, wanted: str = "msgpack", **options: Any) -> Any:
    codec = Codec(annotation, **options)
    data = entry(codec, value)
    assert codec.head(data).codec == wanted
    back = codec.decode(data, key="k")
    assert same(back, value)
    return back


def reason(annotation: Any, value: Any) -> str:
    with pytest.raises(Unencodable) as caught:
        entry(Codec(annotation), value)
    return caught.value.reason


def kind(codec: Codec, data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        codec.decode(data, key="k")
    return caught.value.kind


CASES: list[tuple[Any, Any]] = [
    (Point, Point(1, 2.5)),
    (Point | None, None),
    (Point | None, Point(1)),
    (Frozen, Frozen("a", ("b", "c"))),
    (list[Point], [Point(1), Point(-(2**63), float("inf"))]),
    (dict[str, Point], {"b": Point(1), "a": Point(2)}),
    (tuple[Point, ...], (Point(1), Point(2))),
    (collections.abc.Sequence[Point], [Point(1)]),
    (collections.abc.Mapping[str, Point], {"a": Point(1)}),
    (Everything, everything()),
    (Everything, everything(child=everything(maybe=5), choice="a")),
    (Box[int], Box(5)),
    (Box[Point], Box(Point(1))),
    (Box[list[str]], Box(["a"])),
    (Pair, Pair(1)),
    (list[Pair], [Pair(1, "a"), Pair(2)]),
    (Row, {"points": [Point(1)], "name": "a"}),
    (list[Row], [{}, {"name": "a"}]),
    (Record, Record("a", datetime.datetime(2024, 1, 1))),
    (Cat | Dog, Dog(["sit"])),
    (list[Cat | Dog], [Cat(9), Dog([])]),
    (Checked, Checked(" a ")),
    (Annotated[Point, "documented"], Point(1)),
    (Model, Model()),
    (Model, Model(fullName="a", inner=Inner(number=7), extra_one=[1, "a"])),
    (Model, Model(fullName="a", more={"k": [Inner(), Inner(at=datetime.datetime(2024, 1, 1))]})),
    (list[Model], [Model(), Model(price=decimal.Decimal("1.00"))]),
    (dict[str, Model | None], {"a": Model(), "b": None}),
    (Box[Model], Box(Model(fullName="x"))),
    (Loose, Loose(anything={"a": [1, 2.5, None, "x"]})),
]


@pytest.mark.parametrize(("annotation", "value"), CASES)
def test_a_value_of_its_annotation_comes_back_from_msgpack(annotation: Any, value: Any) -> None:
    back = there_and_back(annotation, value)
    assert type(back) is type(value)


def test_what_was_set_in_a_model_is_set_again_and_nothing_else() -> None:
    value = Model(fullName="a", more={"k": [Inner(number=5), Inner()]})
    back = there_and_back(Model, value)
    assert back.model_fields_set == {"name", "more"}
    assert [each.model_fields_set for each in back.more["k"]] == [{"number"}, set()]
    assert back.model_dump(exclude_unset=True) == value.model_dump(exclude_unset=True)


def test_arrays_inside_can_be_written_to_unless_that_was_asked_for() -> None:
    back = there_and_back(Everything, everything())
    back.array[0] = 5
    back = there_and_back(Everything, everything(), readonly=True)
    assert not back.array.flags.writeable


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 5),
        (str, "a"),
        (dict[str, Any], {"a": (1, {2})}),
        (list[tuple[int, str]], [(1, "a")]),
        (np.ndarray, np.arange(3)),
        (Number, 5),
        (None.__class__, None),
        (Point | None, None),
        # Not what the annotation says, but exact in the tagged encoding.
        (Point, {"x": 1, "y": 2.5}),
        (Point, (1, 2.5)),
        (Point, None),
        (list[Point], []),
        (list[Point], ()),
        (Row, {"name": "a", "more": 1}),
        (Row, {"name": 5}),
        (Pair, (1, "r")),
        (Model, {"fullName": "a"}),
        (float, 1),
        (int, True),
        (datetime.datetime, datetime.datetime(2024, 1, 1, tzinfo=berlin)),
    ],
)
def test_plain_values_come_back_exactly_whatever_was_said(annotation: Any, value: Any) -> None:
    codec = Codec(annotation)
    assert same(codec.decode(entry(codec, value), key="k"), value)


class Sub(Point):
    pass


def point_with_more() -> Point:
    made = Point(1)
    made.more = 1  # type: ignore[attr-defined]
    return made


def without_a_field() -> Point:
    made = Point(1)
    del made.y
    return Box(made).inside


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, Sub(1)),
        (list[Point], [Point(1), Sub(1)]),
        (Point, point_with_more()),
        (Point, Point(True)),
        (Point, Point(1, 2)),
        (Point, Point(2**64)),
        (Point, Point("1")),  # type: ignore[arg-type]
        (Frozen, Frozen("\ud800")),
        (Frozen, Frozen("a", ["b"])),  # type: ignore[arg-type]
        (Pair, Pair(1.0)),  # type: ignore[arg-type]
        (Box[int], Box("a")),
        (Box[Any], Box((1, 2))),
        (Box[Any], Box({1, 2})),
        (Box[Any], Box(Point(1))),
        (Box[object], Box(b"a" if sys.maxsize < 0 else (1,))),
        (Growing, Growing("a")),
        (Loose, Loose(anything=(1, 2))),
        (Loose, Loose(anything=float("nan"))),
        (Loose, Loose(anything=b"\xff")),
        (Loose, Loose(secret=pydantic.SecretStr("hush"))),
        (Loose, Loose(hidden=5)),
        (Shouting, Shouting(text="a")),
        (Inner, Inner(at=datetime.datetime(2024, 1, 1, tzinfo=berlin))),
        (Inner, Inner.model_construct(number="not a number")),
        (Record, Record("a", datetime.datetime(2024, 1, 1, fold=1))),
        (Inner, Model()),
    ],
)
def test_what_would_come_back_otherwise_is_not_stored(annotation: Any, value: Any) -> None:
    assert reason(annotation, value) == "type"


def test_neither_are_cycles_and_endless_sharing() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert reason(Box[Any], Box(loop)) in ("type", "oversized")
    shared: list[Any] = []
    for _ in range(60):
        shared = [shared, shared]
    with pytest.raises(Unencodable) as caught:
        entry(Codec(Box[Any], max_value_bytes=10_000), Box(shared))
    assert caught.value.reason in ("oversized", "type")
    with pytest.raises(Unencodable, match="Box has no stored form"):
        entry(Codec(Box[bytes], max_value_bytes=1000), Box(bytes(1000)))


def test_what_contains_itself_is_found_out_the_first_time_round() -> None:
    """However many parts there may be, or a cycle would keep a processor busy for so long."""
    no_end = 1 << 62
    for holder in (lambda one: [one], lambda one: {"a": [1, one]}, lambda one: Box((one, one))):
        loop: list[Any] = [0]
        loop.append(holder(loop))
        assert not is_within(loop, no_end)
        assert not is_within([1, [2], loop], no_end)


@given(st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=4), max_leaves=30))
def test_what_is_shared_counts_each_time(tree: Any) -> None:
    def parts(value: Any) -> int:
        return 1 + sum(map(parts, value)) if isinstance(value, list) else 1

    whole = [tree, tree, [tree]]
    assert is_within(whole, parts(whole))
    assert not is_within(whole, parts(whole) - 1)


def test_a_refusal_says_why_both_ways() -> None:
    with pytest.raises(Unencodable) as caught:
        entry(Codec(Point), Sub(1))
    assert "Sub has no stored form" in str(caught.value)
    assert any("same types" in note for note in caught.value.__notes__)


# ---- the schema digest


def make(fields: dict[str, Any], name: str = "Made", **more: Any) -> Any:
    made = dataclasses.make_dataclass(name, list(fields.items()), **more)
    made.__module__ = __name__
    return made


def test_a_changed_dataclass_is_a_miss_both_ways() -> None:
    old = make({"a": int, "b": str})
    again = make({"a": int, "b": str})
    data = entry(Codec(old), old(1, "x"))
    assert Codec(again).decode(data, key="k") == again(1, "x")
    changed = [
        make({"a": int, "b": str, "c": int}),
        make({"a": int}),
        make({"b": str, "a": int}),
        make({"a": float, "b": str}),
        make({"a": int | None, "b": str}),
        make({"a": int, "c": str}),
        make({"a": int, "b": str}, name="Other"),
    ]
    schemas = {Codec(old).head(data).schema}
    for new in changed:
        assert kind(Codec(new), data) == "schema"
        value = new(*[None] * len(dataclasses.fields(new)))
        back = Codec(new)
        newer = back.encode(None, key="k", stored_us=1, expires_us=2)
        assert kind(Codec(old), newer) == "schema"
        schemas.add(back.head(newer).schema)
        assert value is not None
    assert len(schemas) == 1 + len(changed)


def test_a_change_deep_inside_counts_and_so_does_every_annotation() -> None:
    def digest(annotation: Any) -> int:
        codec = Codec(annotation)
        return codec.head(entry(codec, None)).schema

    inner, other = make({"a": int}), make({"a": str})
    annotations: list[Any] = [
        *(int, str, float, Any, object, None.__class__, list[int], list[str], set[int], list),
        *(
            dict[str, int],
            dict[str, str],
            dict[int, int],
            tuple[int],
            tuple[int, ...],
            tuple[int, int],
        ),
        *(int | None, int | str, Literal["a"], Literal["b"], Colour, Point, Box[int], Box[str]),
        *(make({"x": inner}), make({"x": other}), make({"x": list[inner]}), Row, Pair, Record),
        *(Model, Inner, list[Model], Everything, np.ndarray, pathlib.Path, complex),
    ]
    digests = [digest(each) for each in annotations]
    assert len(set(digests)) == len(digests)
    assert 0 not in digests
    assert Codec().head(entry(Codec(), 1)).schema == 0
    assert [digest(each) for each in annotations] == digests


def test_a_changed_model_is_a_miss() -> None:
    def model_with(kind: Any, default: Any) -> Any:
        return pydantic.create_model("Same", __module__=__name__, field=(kind, default))

    old = model_with(int, 1)
    data = entry(Codec(old), old())
    assert same(Codec(model_with(int, 1)).decode(data, key="k").field, 1)
    for new in (model_with(int, 2), model_with(str, "1"), model_with(int | None, 1)):
        assert kind(Codec(new), data) == "schema"


def test_the_digest_is_the_same_in_every_process() -> None:
    code = (
        "from tests.python.io.test_typed import *\n"
        "for each in (Everything, Model, Box[Point], Row, list[Pair], Colour, Cat | Dog):\n"
        "    print(Codec(each).head(entry(Codec(each), None)).schema)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 7


def test_a_validator_that_has_become_stricter_is_a_miss() -> None:
    def model(most: int) -> Any:
        class Checked(pydantic.BaseModel):
            number: int

            @pydantic.field_validator("number")
            @classmethod
            def _small(cls, number: int) -> int:
                assert number <= most
                return number

        return Checked

    loose, strict = model(10), model(5)
    assert kind(Codec(strict), entry(Codec(loose), loose(number=7))) == "schema"


# ---- without msgspec, and on demand


def test_msgpack_on_demand_takes_plain_values_too() -> None:
    for annotation in (None, dict[str, Any], Any):
        there_and_back(annotation, {"a": [1, None, "x"]}, codec="msgpack")
    codec = Codec(codec="msgpack")
    data = entry(codec, (1, 2))  # msgpack has no tuples
    assert codec.head(data).codec == "tagged"
    assert codec.decode(data, key="k") == (1, 2)
    assert repr(codec) == "<Codec msgpack>"


def test_tagged_on_demand_refuses_classes() -> None:
    with pytest.raises(Unencodable):
        entry(Codec(Point, codec="tagged"), Point(1))
    data = entry(Codec(Point), Point(1))
    assert kind(Codec(Point, codec="tagged"), data) == "schema"
    assert kind(Codec(), data) == "schema"


@pytest.fixture
def no_msgspec(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def remove() -> None:
        monkeypatch.setitem(sys.modules, "msgspec", None)

    return remove


def test_without_msgspec_plain_values_are_stored_and_classes_are_not(no_msgspec: Any) -> None:
    before = entry(Codec(Point), Point(1))
    no_msgspec()
    there_and_back(dict[str, Any], {"a": (1, 2)}, "tagged")
    assert reason(Point, Point(1)) == "type"
    assert kind(Codec(Point), before) == "schema"
    with pytest.raises(MissingExtraError, match=r"millpond\[typed\]"):
        Codec(Point, codec="msgpack")


def test_an_annotation_that_msgspec_does_not_know_is_as_none_but_for_its_digest() -> None:
    codec = Codec("a forward reference")
    assert codec.decode(entry(codec, (1,)), key="k") == (1,)
    assert kind(Codec("another"), entry(codec, 1)) == "schema"
    with pytest.raises(ConfigurationError, match="does not know"):
        Codec("a forward reference", codec="msgpack")


# ---- exact.same, against the tests' own


@given(values.values, values.values)
def test_same_agrees_with_the_model(a: Any, b: Any) -> None:
    assert same(a, a)
    assert same(a, b) == model.same(a, b)


@pytest.mark.parametrize("place", range(len(values.ODD)))
def test_same_tells_odd_values_apart(place: int) -> None:
    for other, value in enumerate(values.ODD):
        expected = model.same(values.ODD[place], value)
        assert same(values.ODD[place], value) == expected, (place, other)


def test_same_looks_at_what_instances_hold() -> None:
    assert same(Point(1), Point(1))
    assert not same(Point(1), Point(1, 1))
    assert not same(Point(1), Sub(1))
    assert not same(Point(1), point_with_more())
    assert not same(Point(1), without_a_field())
    assert same(without_a_field(), without_a_field())
    assert not same(Inner(), Inner(number=5))
    assert not same(zoneinfo.ZoneInfo.no_cache("Europe/Berlin"), berlin)
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    assert not same(deep, deep)


def test_parts_are_counted_each_time_they_are_met() -> None:
    assert is_within([1, 2], 3)
    assert not is_within([1, 2], 2)
    assert is_within({"a": 1}, 3)
    assert not is_within({"a": 1}, 2)
    assert not is_within([[1] * 10] * 10, 110)
    assert is_within([[1] * 10] * 10, 111)
    assert not is_within(Box([1] * 100), 50)


@given(
    st.builds(
        Box,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
        ),
    )
)
def test_whatever_is_stored_comes_back_the_same(value: Any) -> None:
    codec = Codec(Box[Any])
    try:
        data = entry(codec, value)
    except Unencodable:
        return
    assert model.same(codec.decode(data, key="k").inside, value.inside)


@given(st.binary(max_size=200))
def test_any_msgpack_is_a_value_or_a_miss(content: bytes) -> None:
    from millpond import _engine

    codec = Codec(list[Everything])
    digest = codec.head(entry(codec, [])).schema
    data = _engine.make_entry(2, 0, len(content), digest, 1, 2, 0, 0.0, 0.0, [], content)
    try:
        assert isinstance(codec.decode(data, key="k"), list)
    except Unreadable as error:
        assert error.kind == "schema"  # noqa: PT017 (either may come)
