"""Values with a stored form, as a Hypothesis strategy and as a list of odd ones."""

import datetime
import decimal
import enum
import fractions
import math
import pathlib
import struct
import uuid
import zoneinfo
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - another name of RED
    GREEN = "g"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 300


class Mood(enum.StrEnum):
    CALM = "calm"


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    ALL = 3


class Outer:
    class Inner(enum.Enum):
        A = (1, "tuple")


def nan(bits: int) -> float:
    """The NaN with these bits."""
    number: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return number


utc = datetime.UTC
berlin = zoneinfo.ZoneInfo("Europe/Berlin")

ODD: list[Any] = [
    *(None, True, False, ..., 0, 1, -1, 127, 128, -128, 2**31, 2**63 - 1, 2**63, -(2**63)),
    *(-(2**63) - 1, 2**64, 10**400, -(10**400), 0.0, -0.0, 1.5, math.inf, -math.inf, 5e-324),
    *(math.nan, -math.nan, nan(0x7FF8_0000_DEAD_BEEF), nan(0xFFF0_0000_0000_0001)),
    *(complex(-0.0, math.nan), 1 + 2j),
    *("", "a", "x" * 62, "x" * 63, "x" * 64, "x" * 127, "x" * 128, "x" * 5000, "\x00", "\x7f"),
    *("naïve", "日本語", "😀", "\ud800", "\udc00\ud800", "\ud83d\ude00", "é" * 5000, "\x80"),
    *(b"", b"abc", bytes(5000), bytearray(), bytearray(b"abc")),
    *([], [[]], [1, [2, [3]]], (), ((),), (1,), (1, "a"), set(), {1, "a", (2,)}, frozenset()),
    *(frozenset({frozenset({1})}), {1.0, 2}, {}, {"b": 1, "a": 2}, {1: "a", "1": "b", None: 0}),
    *({"a": {"a": {"a": 1}}}, [{"id": i, "name": "x"} for i in range(300)]),
    {f"key{i}": i for i in range(300)},
    *(range(5), range(10, 0, -3), range(-(10**30), 10**30, 7), range(0)),
    *(uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe)),
    *map(decimal.Decimal, ["0", "-0", "1.0", "1.00", "-1E+30", "NaN", "-NaN123", "sNaN", "-Inf"]),
    *(decimal.Decimal("1E-400000"), decimal.Decimal("9" * 2000)),
    *(fractions.Fraction(1, 3), fractions.Fraction(-(10**50), 7)),
    *(datetime.date.min, datetime.date.max, datetime.date(2024, 2, 29)),
    *(datetime.time.min, datetime.time.max, datetime.time(1, 2, 3, 4, utc, fold=1)),
    *(datetime.datetime.min, datetime.datetime.max, datetime.datetime(2024, 1, 1, tzinfo=utc)),
    datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=berlin),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
    datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(0), "UTC")),
    datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(seconds=1), "näme")),
    *(datetime.timedelta.min, datetime.timedelta.max, datetime.timedelta(-1, 5, 6)),
    *(datetime.timezone.min, utc, berlin),
    *(pathlib.PurePosixPath("/a//b/.."), pathlib.PureWindowsPath("C:/a"), pathlib.Path()),
    pathlib.PosixPath("/a/\udcff"),
    *(Colour.RED, Colour.CRIMSON, Colour.GREEN, Level.HIGH, Mood.CALM, Outer.Inner.A),
    *(Access.READ, Access.ALL, Access(0)),
    {Colour.RED: 1, uuid.UUID(int=1): 2, decimal.Decimal(1): 3, datetime.date(1, 1, 1): 4},
    *(np.zeros(0), np.zeros((2, 0, 3)), np.array(5), np.arange(6).reshape(2, 3)),
    *(np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(10)[::2], np.array([True])),
    *(np.array(["a", "bcd"]), np.array([b"x"]), np.array(["2024-01-01"], "M8[ns]")),
    *(np.array([1], ">f8"), np.array([1 + 2j], np.complex64), np.array([1], np.float16)),
    np.array([(1, 2.5, "x")], dtype=[("a", "<i4"), ("b", "<f8"), ("c", "<U3")]),
    *(np.float32(1.5), np.float64("nan"), np.int8(-1), np.bool_(True), np.str_("abc")),
    *(np.datetime64("2024-01-01"), np.timedelta64(5, "s"), np.longdouble(1)),
]

_zones = st.none() | st.sampled_from([utc, berlin, datetime.timezone(datetime.timedelta(hours=5))])
_text = st.text(st.characters(exclude_categories=()), max_size=80)
_hashable = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | _text
    | st.text(st.characters(max_codepoint=127), max_size=80)
    | st.binary(max_size=80)
    | st.complex_numbers()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.times(timezones=_zones)
    | st.datetimes(timezones=_zones)
    | st.timedeltas()
    | st.sampled_from([*Colour, *Level, *Mood, *Access, pathlib.Path("/a"), range(3), ...])
)
_names = st.sampled_from(["id", "name", "role", "content"]) | _text
_arrays = npst.arrays(
    st.sampled_from(["<f4", "<f8", ">i2", "u1", "?", "<U4", "<M8[us]"]),
    npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
)
_leaves = _hashable | st.decimals() | st.binary(max_size=80).map(bytearray) | _arrays

values: st.SearchStrategy[Any] = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(_names, inner, max_size=5)
        | st.dictionaries(_hashable | st.tuples(_hashable), inner, max_size=4)
        | st.sets(_hashable, max_size=4)
        | st.frozensets(_hashable | st.frozensets(_hashable, max_size=2), max_size=4)
    ),
    max_leaves=25,
)
