"""The rows, one file a subject. `all_rows` puts them in the order of the table."""

from __future__ import annotations

from ..model import Row
from . import (
    awaits,
    caches,
    hits,
    imports,
    keys,
    memory,
    misses,
    ratios,
    sizes,
    threads,
    waiters,
)

_SUBJECTS = (
    hits,
    caches,
    awaits,
    keys,
    misses,
    threads,
    sizes,
    memory,
    waiters,
    imports,
    ratios,
)


def all_rows() -> list[Row]:
    return [row for subject in _SUBJECTS for row in subject.rows()]
