"""The tagged encoding gives back exactly what was stored, and reads hostile bytes safely."""

import array
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import io
import random
import struct
import sys
import threading
import tracemalloc
import types
import uuid
import zoneinfo
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond import _engine
from millpond._engine import Unencodable, Unreadable
from tests.python.io import values
from tests.python.io.same import same

MOST = 2**24


def stored(value: Any) -> bytes:
    return _engine.encode_tagged(value, MOST)


def read(content: bytes, readonly: bool = False) -> Any:
    return _engine.decode_tagged(content, readonly)


def reason(value: Any, most: int = MOST) -> str:
    with pytest.raises(Unencodable) as caught:
        _engine.encode_tagged(value, most)
    return caught.value.reason


def kind(content: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read(content)
    return caught.value.kind


@pytest.mark.parametrize("value", values.ODD, ids=lambda value: f"{type(value).__name__}")
def test_odd_values_come_back_as_they_were(value: Any) -> None:
    assert same(read(stored(value)), value)
    assert same(read(stored([value, value])), [value, value])


@given(values.values)
def test_any_value_comes_back_as_it_was(value: Any) -> None:
    content = stored(value)
    back = read(content)
    assert same(back, value)
    assert same(read(content, readonly=True), value)
    assert same(read(stored(back)), value)


def test_enum_members_and_constants_come_back_as_themselves() -> None:
    for value in (None, True, ..., values.Colour.RED, values.Access.ALL, datetime.UTC):
        assert read(stored(value)) is value
    back = read(stored(uuid.uuid4()))
    assert back.is_safe is uuid.SafeUUID.unknown
    assert hash(back) == hash(uuid.UUID(int=back.int))
    with pytest.raises(TypeError):
        back.int = 5


def test_the_order_of_a_dict_is_kept() -> None:
    names = [f"n{i}" for i in range(500)]
    random.Random(1).shuffle(names)
    assert list(read(stored(dict.fromkeys(names)))) == names


def test_the_keys_of_many_dicts_are_spelt_out_once() -> None:
    rows = [{"a_long_name_of_a_column": i % 100, "another_name": None} for i in range(1000)]
    content = stored(rows)
    assert content.count(b"a_long_name_of_a_column") == 1
    assert len(content) < 10_000
    back = read(content)
    assert back == rows
    first, second = (next(iter(row)) for row in back[:2])
    assert first is second


def test_more_keys_than_are_numbered_come_back() -> None:
    names = {f"k{i}": i for i in range(70_000)}
    assert read(stored([names, names])) == [names, names]


@dataclasses.dataclass
class Point:
    x: int


class Pair(NamedTuple):
    left: int


class Text(str):
    pass


class Number(int):
    pass


class Array(np.ndarray):
    pass


# The least file of a time zone: one type of local time, UTC.
TZIF = (
    b"TZif"
    + bytes(16)
    + struct.pack(">6L", 0, 0, 0, 0, 1, 4)
    + struct.pack(">lBB", 0, 0, 0)
    + b"UTC\0"
)

REFUSED = {
    "object": object(),
    "dataclass": Point(1),
    "named tuple": Pair(1),
    "str subclass": Text("a"),
    "int subclass": Number(1),
    "OrderedDict": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(list),
    "deque": collections.deque([1]),
    "array": array.array("d", [1.0]),
    "memoryview": memoryview(b"a"),
    "type": int,
    "function": stored,
    "namespace": types.SimpleNamespace(a=1),
    "slice": slice(1),
    "exception": ValueError("a"),
    "Decimal subclass": type("D", (decimal.Decimal,), {})(1),
    "datetime subclass": type("T", (datetime.datetime,), {})(2024, 1, 1),
    "tzinfo": datetime.time(1, tzinfo=type("Z", (datetime.tzinfo,), {})()),
    "ZoneInfo of a file": zoneinfo.ZoneInfo.from_file(io.BytesIO(TZIF)),
    "objects in numpy": np.array([object()], dtype=object),
    "numpy subclass": np.zeros(3).view(Array),
    "numpy matrix of records": np.zeros(2, np.dtype([("a", "i1"), ("b", "i8")], align=True)),
    "dtype with metadata": np.zeros(2, np.dtype("i8", metadata={"a": 1})),
    "elements of no size": np.zeros(2, "V0"),
    "large Fraction": fractions.Fraction(1, 1 << 50_000),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_not_come_back_the_same_is_refused(what: str) -> None:
    value = REFUSED[what]
    for holder in (value, [value], {"a": (1, value)}):
        assert reason(holder) == "type"


def test_a_refusal_says_where_but_shows_no_key_and_no_value() -> None:
    with pytest.raises(Unencodable) as caught:
        stored([1, {"secret": (1, [Text("password")])}])
    text = str(caught.value)
    assert "the value[1][...][1][0]" in text
    assert "test_tagged.Text" in text
    assert "secret" not in text
    assert "password" not in text


def test_an_enum_that_cannot_be_found_is_refused() -> None:
    class Local(enum.Enum):
        A = 1

    assert reason(Local.A) == "type"
    with pytest.raises(Unencodable, match="top of a module"):
        stored(Local.A)
    fake = enum.Enum("Colour", {"RED": 5}, module=values.__name__)
    assert reason(fake["RED"]) == "type"


def nested(levels: int, wrap: Any = lambda tree: [tree]) -> Any:
    tree: Any = 1
    for _ in range(levels):
        tree = wrap(tree)
    return tree


@pytest.mark.parametrize(
    "wrap", [lambda t: [t], lambda t: (t,), lambda t: {"a": t}, lambda t: frozenset({t})]
)
def test_a_hundred_levels_are_stored_and_one_more_is_refused(wrap: Any) -> None:
    assert same(read(stored(nested(100, wrap))), nested(100, wrap))
    assert reason(nested(101, wrap)) == "depth"


def test_a_container_in_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert reason(loop) == "depth"
    names: dict[str, Any] = {}
    names["self"] = (names,)
    assert reason(names) == "depth"


def test_the_bound_on_bytes_is_exact_and_ends_a_walk_that_would_never_end() -> None:
    for value in ("x" * 50, "x" * 5000, list(range(3000)), {"a": 1.5}):
        size = len(stored(value))
        assert len(_engine.encode_tagged(value, size)) == size
        assert reason(value, size - 1) == "oversized"
    tree: list[Any] = []
    for _ in range(60):
        tree = [tree, tree]
    assert reason(tree, 10**6) == "oversized"


def test_a_value_that_others_change_meanwhile_is_stored_as_it_was_seen_or_refused() -> None:
    shared: list[Any] = [values.pathlib.PurePosixPath(f"/{i}") for i in range(50)]
    table: dict[str, Any] = {str(i): values.pathlib.PurePosixPath("/a") for i in range(50)}
    stop = threading.Event()

    def meddle() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            shared.append(turn)
            table[f"new{turn}"] = [turn]
            shared.pop(0)
            del table[next(iter(table))]
            if turn % 7 == 0:
                shared.pop()
                shared.append(object)
                shared[-1] = "text"

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=meddle)
    thread.start()
    outcomes = set()
    try:
        for _ in range(300):
            try:
                back = read(stored([shared, table]))
                assert len(back) == 2
                outcomes.add("stored")
            except Unencodable as error:
                outcomes.add(error.reason)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert outcomes <= {"stored", "changed", "type"}


def test_code_of_the_values_own_that_fails_is_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(values.pathlib.PurePosixPath, "__fspath__", fails)
    with pytest.raises(Unencodable, match="ZeroDivisionError") as caught:
        stored([values.pathlib.PurePosixPath("/a")])
    assert caught.value.reason == "failed"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)

    def interrupted(self: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(values.pathlib.PurePosixPath, "__fspath__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stored([values.pathlib.PurePosixPath("/a")])


def test_arrays_can_be_written_to_unless_that_was_asked_for() -> None:
    big = np.arange(10_000.0)
    content = stored({"a": big})
    back = read(content)["a"]
    back[0] = 7
    assert back.flags.owndata
    assert back.flags.aligned

    view = read(content, readonly=True)["a"]
    assert not view.flags.writeable
    assert view.flags.aligned
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 7
    assert view.base is not None
    assert np.array_equal(view, big)
    # A small array does not keep a large entry alive.
    small = read(stored([np.arange(3), "x" * 5000]), readonly=True)[0]
    assert not small.flags.writeable
    assert small.base is None


# ---- hostile bytes


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_unreadable(content: bytes) -> None:
    with contextlib.suppress(Unreadable):
        value = read(content)
        assert same(read(stored(value)), value)


@given(values.values, st.data())
def test_changed_bytes_are_a_value_or_unreadable(value: Any, data: st.DataObject) -> None:
    content = bytearray(stored(value))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Unreadable):
        read(bytes(content))


@pytest.mark.parametrize("value", values.ODD, ids=lambda value: f"{type(value).__name__}")
def test_bytes_that_are_cut_off_or_go_on_are_damaged(value: Any) -> None:
    content = stored(value)
    for size in range(0, len(content), max(1, len(content) // 300)):
        assert kind(content[:size]) == "damaged"
    assert kind(content + b"\0") == "damaged"


def count(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize("tag", [*range(0x07, 0x10), 0x04, 0x05, 0x21, 0x23, 0x24])
@pytest.mark.parametrize("size", [1000, 2**31, 2**63, 2**64 - 1])
def test_a_length_that_the_bytes_do_not_bear_out_costs_nothing(tag: int, size: int) -> None:
    content = bytes([tag]) + count(size) + b"\0" * 100
    gc.collect()
    tracemalloc.start()
    assert kind(content) == "damaged"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000


def test_a_count_of_more_than_64_bits_is_damaged() -> None:
    assert read(b"\x03" + b"\xff" * 9 + b"\x01") == -(2**63)
    assert kind(b"\x03" + b"\xff" * 9 + b"\x02") == "damaged"
    assert kind(b"\x03" + b"\x80" * 50 + b"\x00") == "damaged"


@pytest.mark.parametrize(
    "level",
    [
        b"\x0b\x01",
        b"\x0c\x01",
        b"\x0d\x01",
        b"\x0e\x01",
        b"\x0f\x01\x00",
        b"\x11",
        b"\x19" + bytes(8),
        b"\x1a" + bytes(12),
        b"\x1d" + bytes(12),
        b"\x1e",
        b"\x20\x00",
        b"\x22",
        b"\x23\x00\x00",
        b"\x25C",
        b"\x26",
    ],
    ids=lambda level: hex(level[0]),
)
def test_nesting_without_end_is_damaged(level: bytes) -> None:
    assert kind(level * 200_000) == "damaged"


def test_a_key_that_was_not_spelt_out_is_damaged() -> None:
    assert kind(b"\x0f\x01\x13\x00\x00") == "damaged"
    assert read(b"\x0b\x02\x0f\x01\x41a\x00\x0f\x01\x13\x00\x01") == [{"a": None}, {"a": False}]
    assert kind(b"\x0b\x02\x0f\x01\x41a\x00\x0f\x01\x13\x01\x01") == "damaged"
    assert kind(b"\x13\x00") == "damaged"


def test_what_nobody_encodes_is_damaged() -> None:
    twice = b"\x0f\x02\x41a\x00\x41a\x01"
    assert kind(twice) == "damaged"
    assert kind(b"\x0d\x02\x81\x81") == "damaged"  # a set with a member twice
    assert kind(b"\x0d\x01\x0b\x00") == "damaged"  # and with one that is not hashable
    assert kind(b"\x0f\x01\x0f\x00\x00") == "damaged"
    assert kind(b"\x42\xff\xff") == "damaged"  # text that is not ASCII, or not UTF-8
    assert kind(b"\x08\x02\xff\xff") == "damaged"
    assert kind(b"\x22\x81\x80") == "damaged"  # 1/0
    assert kind(b"\x11\x81\x81\x80") == "damaged"  # a step of 0
    assert kind(b"\x18\xff\xff\xff\xff") == "damaged"
    assert kind(b"\x21\x03a.b") == "damaged"
    assert kind(b"\x1f\x03" + bytes(16)) == "damaged"
    for tag in [0x14, 0x15, 0x17, 0x27, 0x3F]:
        assert kind(bytes([tag]) + bytes(20)) == "damaged"


def array_bytes(form: Any, shape: Any, data: bytes = b"") -> bytes:
    content = b"\x25C" + stored(form) + stored(shape)
    gap = (8 - (len(content) + 1) % 8) % 8
    return content + bytes([gap]) + bytes(gap) + data


def test_arrays_of_objects_or_of_shapes_that_do_not_fit_are_damaged() -> None:
    assert read(array_bytes("<i2", (2,), b"\1\0\2\0")).tolist() == [1, 2]
    for form in ("O", "i4,O", [("a", "O")], "no dtype", 5, {"names": ["a"]}, "V0", [], ["x"]):
        assert kind(array_bytes(form, (1,), bytes(64))) == "damaged"
    for shape in ((3,), (-1,), (2**62,), (2**40, 2**40), (1,) * 65, [2], ("a",), 2, (True,)):
        assert kind(array_bytes("<i8", shape, bytes(16))) == "damaged"
    assert kind(array_bytes("<i8", (2**62, 2**62, 0))) == "damaged"


def test_a_class_that_this_process_lacks_is_a_miss_and_nothing_is_imported() -> None:
    def member(module: str, name: str) -> bytes:
        return b"\x23" + count(len(module)) + module.encode() + count(len(name)) + name.encode()

    here = values.__name__
    assert read(member(here, "Colour") + b"\x43RED") is values.Colour.RED
    assert read(member(here, "Outer.Inner") + b"\x41A") is values.Outer.Inner.A
    for module, name, which in [
        (here, "Colour", b"\x44BLUE"),
        (here, "Gone", b"\x41A"),
        (here, "Colour.RED", b"\x43RED"),
        (here, "Outer", b"\x41A"),
        (here, "", b"\x41A"),
        ("", "Colour", b"\x41A"),
        ("antigravity", "Colour", b"\x41A"),
        ("os", "system", b"\x41A"),
        ("builtins", "int", b"\x41A"),
        ("enum", "Enum", b"\x41A"),
        (here + "\0", "Colour", b"\x43RED"),
        (here, "Colour\0", b"\x43RED"),
    ]:
        assert kind(member(module, name) + which) == "type"
    assert kind(b"\x23\x02\xff\xff\x01\xff\x41A") == "type"  # names that are not UTF-8
    assert "antigravity" not in sys.modules
    assert kind(b"\x1e\x47No/Zone") == "type"
    assert kind(b"\x1e\x47../../x") == "type"
    assert kind(b"\x20\x03\x41a") == "type"  # a path of Windows


@pytest.mark.measures
def test_reading_and_refusing_leave_no_object_behind() -> None:
    # numpy keeps freed memory aside for long.
    plain = [value for value in values.ODD if not isinstance(value, np.ndarray | np.generic)]
    contents = [stored(value) for value in plain]
    broken = [content[: len(content) // 2] for content in contents if content]
    refused = [value for value in REFUSED.values() if not isinstance(value, np.ndarray)]

    def turn() -> None:
        for content in contents:
            read(content)
        for content in broken:
            with contextlib.suppress(Unreadable):
                read(content)
        for value in refused:
            with contextlib.suppress(Unencodable):
                stored(value)

    def growth(turns: int) -> int:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(turns):
            turn()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    growth(50)
    # One object a turn would be 10 kB; CPython's own free lists may still grow a little.
    least = min(growth(200) for _ in range(3))
    tracemalloc.stop()
    assert least < 5_000
