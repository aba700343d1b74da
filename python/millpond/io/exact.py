"""`same`: whether two values are the same in type and content at every depth.

`==` is not enough for what goes through an encoding: 1 == 1.0 == True, 0.0 == -0.0, NaN != NaN, a
datetime equals its instant in another zone, and a model may compare by an identifier alone.
"""

from __future__ import annotations

import enum
import struct
from datetime import datetime, time
from decimal import Decimal
from typing import Any

# A value may nest this deep, as keys and the tagged encoding allow it.
MAX_DEPTH = 100

_pack = struct.Struct("<d").pack
# Compared by == among equals in type.
_PLAIN = frozenset({type(None), bool, int, str, bytes, bytearray, type(...), range})


def same(a: Any, b: Any, depth: int = 0) -> bool:
    """Whether `a` and `b` could not be told apart, but for their identities.

    False too for what nests deeper than 100 levels. A class that is not known here decides by its
    own `==`.
    """
    # Of anything: what pyright sees is `type[Unknown]`.
    kind: type[Any] = type(a)  # pyright: ignore[reportUnknownVariableType]
    if kind is not type(b) or depth > MAX_DEPTH:
        return False
    if kind in _PLAIN:
        return bool(a == b)
    if kind is float:
        return a == b != 0.0 or _pack(a) == _pack(b)
    if kind is complex:
        return _pack(a.real) == _pack(b.real) and _pack(a.imag) == _pack(b.imag)
    if issubclass(kind, enum.Enum):
        return a is b
    if issubclass(kind, list | tuple):
        return _same_items(a, b, depth) and _same_state(a, b, depth)
    if issubclass(kind, dict):
        pairs = zip(a.items(), b.items(), strict=False)
        if len(a) != len(b) or not all(
            same(x, y, depth + 1) and same(v, w, depth + 1) for (x, v), (y, w) in pairs
        ):
            return False
        return _same_state(a, b, depth)
    if issubclass(kind, set | frozenset):
        return a == b and _same_members(a, b, depth) and _same_state(a, b, depth)
    if issubclass(kind, Decimal):
        return a.as_tuple() == b.as_tuple() and _same_state(a, b, depth)
    if issubclass(kind, datetime | time):
        bare = a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold
        zones = type(a.tzinfo) is type(b.tzinfo) and repr(a.tzinfo) == repr(b.tzinfo)
        return bare and zones and _same_state(a, b, depth)
    if kind.__module__ == "numpy":
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if (names := _field_names(kind)) is not None:
        return all(_same_field(a, b, name, depth) for name in names) and _same_state(a, b, depth)
    return bool(a == b)


def _same_items(a: Any, b: Any, depth: int) -> bool:
    return len(a) == len(b) and all(same(x, y, depth + 1) for x, y in zip(a, b, strict=True))


def _same_members(a: Any, b: Any, depth: int) -> bool:
    """Of two sets that are equal by ==: whether equal members are the same."""
    others = {member: member for member in b}
    return all(same(member, others[member], depth + 1) for member in a)


def _same_field(a: Any, b: Any, name: str, depth: int) -> bool:
    missing = object()
    x, y = getattr(a, name, missing), getattr(b, name, missing)
    return (x is missing and y is missing) or same(x, y, depth + 1)


# What a pydantic model keeps beside its fields.
_PYDANTIC_STATE = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def _same_state(a: Any, b: Any, depth: int) -> bool:
    """Whether the instances' own attributes are the same."""
    x, y = getattr(a, "__dict__", None), getattr(b, "__dict__", None)
    if x is None or y is None:
        return x is y
    # The order in which attributes were set is no part of a value.
    return len(x) == len(y) and all(
        name in y and same(value, y[name], depth + 1) for name, value in x.items()
    )


def _field_names(kind: type[Any]) -> Any:
    """The names of what makes up a value of a class, if it says so."""
    if hasattr(kind, "__pydantic_fields_set__"):
        return _PYDANTIC_STATE
    for attribute in ("__dataclass_fields__", "__struct_fields__"):
        if (names := getattr(kind, attribute, None)) is not None:
            return names
    if (attrs := getattr(kind, "__attrs_attrs__", None)) is not None:
        return [each.name for each in attrs]
    return None


def is_within(value: Any, most: int) -> bool:
    """Whether a value has at most `most` parts, those shared counting each time they are met.

    Lists, tuples, sets and dicts are looked into, and what has fields. What contains itself has no
    end, which is found out the first time round.
    """
    left = most
    waiting = [value]
    # What the next part is within, outermost first: each with where its own parts begin in the
    # line. (The objects, so that no id of theirs is given to another meanwhile.)
    around: list[tuple[Any, int]] = []
    within: set[int] = set()
    while waiting:
        if (left := left - 1) < 0:
            return False
        one: Any = waiting.pop()
        place = len(waiting)
        # Of anything: what pyright sees is `type[Unknown]`.
        kind: type[Any] = type(one)  # pyright: ignore[reportUnknownVariableType]
        if issubclass(kind, dict):
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif issubclass(kind, list | tuple | set | frozenset):
            waiting.extend(one)
        elif (names := _field_names(kind)) is not None:
            waiting.extend(getattr(one, name, None) for name in names)
            waiting.extend(getattr(one, "__dict__", {}).values())
        if len(waiting) == place:
            continue
        while around and around[-1][1] > place:
            within.discard(id(around.pop()[0]))
        if len(waiting) > left or id(one) in within:
            return False
        around.append((one, place))
        within.add(id(one))
    return True
