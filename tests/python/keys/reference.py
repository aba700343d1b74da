"""The shared key's encoding in plain Python, written from docs/design/keys.md."""

import hashlib
import math
import struct
from typing import Any


def count(number: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def run(data: bytes) -> bytes:
    """Length, then content."""
    return count(len(data)) + data


def text(value: str) -> bytes:
    """UTF-8 that lets lone surrogates through."""
    return value.encode("utf-8", "surrogatepass")


def word(number: int) -> bytes:
    """Eight bytes, lowest first."""
    return number.to_bytes(8, "little")


def string(value: str) -> bytes:
    """A str value."""
    return b"\x06" + run(text(value))


def number(value: int) -> bytes:
    """An int of any size."""
    magnitude = abs(value)
    size = (magnitude.bit_length() + 7) // 8
    return (b"\x04" if value < 0 else b"\x03") + run(magnitude.to_bytes(size, "little"))


def floating(value: float) -> bytes:
    """IEEE bits, one NaN."""
    bits = b"\0\0\0\0\0\0\xf8\x7f" if math.isnan(value) else struct.pack("<d", value)
    return b"\x05" + bits


def encode(value: Any, *, typed: bool = True, ordered: bool = False) -> bytes:
    """The encoding of a tree of builtins."""

    def inner(each: Any) -> bytes:
        return encode(each, typed=typed, ordered=ordered)

    if not typed:
        if isinstance(value, bool):
            return number(int(value))
        whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
        if whole and not (value == 0 and math.copysign(1, value) < 0):
            return number(int(value))
    match value:
        case None | True | False:
            return {None: b"\x00", False: b"\x01", True: b"\x02"}[value]
        case int():
            return number(value)
        case float():
            return floating(value)
        case complex():
            return b"\x0e" + floating(value.real) + floating(value.imag)
        case str():
            return string(value)
        case bytes():
            return b"\x07" + run(value)
        case bytearray():
            return b"\x08" + run(bytes(value))
        case list() | tuple():
            tag = b"\x09" if isinstance(value, list) else b"\x0a"
            return tag + count(len(value)) + b"".join(map(inner, value))
        case dict():
            pairs = [(inner(key), inner(each)) for key, each in value.items()]
            if not ordered:
                pairs.sort()
            return b"\x0b" + count(len(value)) + b"".join(key + each for key, each in pairs)
        case set() | frozenset():
            tag = b"\x0c" if isinstance(value, set) else b"\x0d"
            return tag + count(len(value)) + b"".join(sorted(map(inner, value)))
        case range():
            return b"\x0f" + number(value.start) + number(value.stop) + number(value.step)
        case slice():
            return b"\x10" + inner(value.start) + inner(value.stop) + inner(value.step)
    if value is ...:
        return b"\x11"
    raise TypeError(type(value))


def shared_key(
    *positional: Any, named: dict[str, Any] | None = None, typed: bool = True, ordered: bool = False
) -> bytes:
    """The key of a call."""
    named = named or {}
    options = bytes([int(typed) + 2 * int(ordered)])
    body = b"".join(encode(each, typed=typed, ordered=ordered) for each in positional)
    pairs = sorted(
        (encode(name), encode(each, typed=typed, ordered=ordered)) for name, each in named.items()
    )
    tail = b"\xf1" + count(len(positional)) + b"\xf1" + count(len(named))
    tail += b"".join(name + each for name, each in pairs)
    return hashlib.sha256(b"mpk\x01" + options + body + tail).digest()
