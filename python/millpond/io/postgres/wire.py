"""PostgreSQL's binary formats of what the statements take and give."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from millpond.io.postgres.errors import damaged

if TYPE_CHECKING:
    from collections.abc import Iterable

BOOL: Final = 16
BYTEA: Final = 17
INT8: Final = 20
TEXT: Final = 25
FLOAT8: Final = 701
BYTEA_ARRAY: Final = 1001
TEXT_ARRAY: Final = 1009
INT8_ARRAY: Final = 1016
FLOAT8_ARRAY: Final = 1022

_HEAD = struct.Struct(">iiiii")
_LENGTH = struct.Struct(">i")
_INT8 = struct.Struct(">q")
_FLOAT8 = struct.Struct(">d")


def array(element: int, items: Iterable[bytes]) -> bytes:
    """A one-dimensional array without NULLs: `array_send` in PostgreSQL's source."""
    parts: list[bytes] = []
    for item in items:
        parts += (_LENGTH.pack(len(item)), item)
    count = len(parts) // 2
    if count == 0:
        return struct.pack(">iii", 0, 0, element)
    return b"".join((_HEAD.pack(1, 0, element, count, 1), *parts))


def texts(items: Iterable[str]) -> bytes:
    return array(TEXT, (item.encode() for item in items))


def bigints(items: Iterable[int]) -> bytes:
    return array(INT8, map(_INT8.pack, items))


def floats(items: Iterable[float]) -> bytes:
    return array(FLOAT8, map(_FLOAT8.pack, items))


def blobs(items: Iterable[bytes]) -> bytes:
    return array(BYTEA, items)


def bigint(number: int) -> bytes:
    return _INT8.pack(number)


def boolean(yes: bool) -> bytes:
    return b"\x01" if yes else b"\x00"


def float8(number: float) -> bytes:
    return _FLOAT8.pack(number)


def to_int(value: bytes | None) -> int:
    """A bigint of a result."""
    if value is None or len(value) != 8:
        raise damaged("a number is not of 8 bytes")
    number: int = _INT8.unpack(value)[0]
    return number


def to_float(value: bytes | None) -> float:
    if value is None or len(value) != 8:
        raise damaged("a number is not of 8 bytes")
    number: float = _FLOAT8.unpack(value)[0]
    return number


def to_text(value: bytes | None) -> str:
    if value is None:
        raise damaged("a text is missing")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise damaged("a text is not UTF-8") from error
