"""Values whose shared keys are fixed for good, and the classes that they are made of.

`golden.json` maps an expression over this module's names to the key of its value.
"""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import uuid
from typing import Any, NamedTuple

__all__ = ["namespace"]


class Colour(enum.Enum):
    """Members are keyed by name."""

    RED = 1


class Access(enum.Flag):
    """Members put together have a value."""

    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    """Keyed by class and fields."""

    x: int
    y: Any = None


class Pair(NamedTuple):
    """Keyed by class, field names and content."""

    left: int
    right: str


class Name(str):
    """A subclass of str that compares like str."""


class Tagged(dict[str, int]):
    """A subclass of dict with slots and attributes."""

    __slots__ = ("__dict__", "label")


def tagged(label: str | None, **attributes: object) -> Tagged:
    """A Tagged with one entry."""
    made = Tagged(a=1)
    if label is not None:
        made.label = label
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def namespace() -> dict[str, Any]:
    """What the expressions of golden.json may name."""
    names: dict[str, Any] = {
        module.__name__: module
        for module in (array, collections, datetime, decimal, fractions, pathlib, uuid)
    }
    for made in (Colour, Access, Point, Pair, Name, tagged):
        # The name of a class counts, and it must not depend on how the tests are imported.
        made.__module__ = "golden"
        names[made.__name__] = made
    return names
