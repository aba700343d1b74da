"""What the SQLite tier reads: the statements, and the checks that their rows are sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from millpond.io.sqlite.errors import damaged
from millpond.io.sqlite.upkeep import USE_GRAIN

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

# The cast costs nothing for bytes, and makes them of what damage has made a text.
RECORD = "SELECT CAST(data AS BLOB), guard, expires, used FROM records WHERE key = ?"
# The same of an entry that lives and whose use has been noted, by key and time. Each value that is
# bound, and each letter of a column's name, is paid for at every look-up.
_USED = f"FROM records WHERE key = ?1 AND expires > ?2 AND used >= ?2 - {USE_GRAIN}"
USUAL = f"SELECT CAST(data AS BLOB) d, guard g {_USED}"
# That without its guard, which only who did not find it needs.
BRIEF = f"SELECT CAST(data AS BLOB) d {_USED}"
STAMP = "SELECT stamp, used FROM generations WHERE name = ?"
HELD = "SELECT CAST(data AS BLOB), expires FROM records WHERE key = ? AND size > 0 AND expires > ?"
SCAN = (
    "SELECT key FROM records WHERE key > ? AND key < ? AND size > 0 AND expires > ?"
    " ORDER BY key LIMIT ?"
)
LAST = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'log'), 0)"
CHANGES = (
    f"SELECT seq, kind, name, ({LAST}) FROM log"  # noqa: S608 (of two constants)
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)


def range_of(prefix: str) -> tuple[str, str]:
    """Bounds of the keys that begin with `prefix`, both excluded; keys are printable ASCII."""
    return prefix[:-1] + chr(ord(prefix[-1]) - 1) + "\x7f" if prefix else "", prefix + "\x7f"


def sound(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except TypeError as error:
        raise damaged("a row has columns of other types") from error
