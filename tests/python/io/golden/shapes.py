"""The names that golden entries are made of. Never change one: entries out there hold them."""

import dataclasses
import datetime as _datetime
import enum
import struct
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import numpy as np

from millpond.io.codecs import Codec
from millpond.io.encryption import Keyring

__all__ = [
    "UUID",
    "Any",
    "Decimal",
    "Fraction",
    "Keyring",
    "PosixPath",
    "PurePosixPath",
    "PureWindowsPath",
    "SafeUUID",
    "ZoneInfo",
    "codec",
    "date",
    "datetime",
    "evaluated",
    "np",
    "time",
    "timedelta",
    "timezone",
    "utc",
]


utc = _datetime.UTC


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float
    tags: list[str]


class Pair(NamedTuple):
    left: int
    right: str


def nan(bits: int) -> float:
    """The NaN with these bits."""
    number: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return number


def key(number: int) -> bytes:
    """A key that is no secret."""
    return bytes([number]) * 32


def evaluated(expression: str) -> Any:
    """The value of an expression over the names above."""
    return eval(expression, globals())


def codec(options: str) -> Codec:
    """A codec with these options."""
    return Codec(**evaluated(options))
