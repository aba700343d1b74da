"""`same`: whether two values are the same in type and content at every depth.

`==` would not do: 1 == 1.0 == True, 0.0 == -0.0, NaN != NaN, Decimal("1.0") == Decimal("1.00"), and
two datetimes of one instant in different zones.
"""

import datetime
import decimal
import fractions
import struct
import uuid
from typing import Any

import numpy as np


def same(a: Any, b: Any) -> bool:
    """Type and content, deep; the order of a dict counts, that of a set does not."""
    if type(a) is not type(b):
        return False
    match a:
        case float():
            return struct.pack("<d", a) == struct.pack("<d", b)
        case complex():
            return same((a.real, a.imag), (b.real, b.imag))
        case list() | tuple():
            return len(a) == len(b) and all(map(same, a, b))
        case dict():
            return same(list(a.items()), list(b.items()))
        case set() | frozenset():
            return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
        case decimal.Decimal():
            return a.as_tuple() == b.as_tuple()
        case fractions.Fraction():
            return (a.numerator, a.denominator) == (b.numerator, b.denominator)
        case uuid.UUID():
            return a.int == b.int and a.is_safe is b.is_safe
        case datetime.datetime():
            whole = a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold
            return whole and same_zone(a.tzinfo, b.tzinfo)
        case datetime.time():
            whole = a.replace(tzinfo=None) == b.replace(tzinfo=None) and a.fold == b.fold
            return whole and same_zone(a.tzinfo, b.tzinfo)
        case np.ndarray():
            return (
                a.dtype == b.dtype
                and a.shape == b.shape
                and a.tobytes() == b.tobytes()
                and a.flags.fnc == b.flags.fnc
            )
        case np.generic():
            return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return bool(a == b)


def same_zone(a: Any, b: Any) -> bool:
    """Zones are told apart by what they say of themselves."""
    return type(a) is type(b) and repr(a) == repr(b)
