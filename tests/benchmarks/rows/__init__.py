"""The rows, one file a subject. `all_rows` puts them in the order of the table."""

from __future__ import annotations

from ..model import Row
from . import (
    awaits,
    caches,
    codecs,
    coherence,
    hits,
    imports,
    keys,
    memory,
    misses,
    monitors,
    postgres,
    ratios,
    redis,
    sizes,
    sqlite,
    threads,
    tiers,
    waiters,
    workers,
)

_SUBJECTS = (
    hits,
    caches,
    awaits,
    keys,
    codecs,
    misses,
    threads,
    sizes,
    memory,
    waiters,
    imports,
    monitors,
    postgres,
    redis,
    tiers,
    workers,
    coherence,
    sqlite,
    ratios,
)


def all_rows() -> list[Row]:
    return [row for subject in _SUBJECTS for row in subject.rows()]
