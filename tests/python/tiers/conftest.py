"""SQLite tiers on a clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from millpond.tiers.sqlite import SQLiteTier
from tests.python.tiers.sqlite_parts import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., SQLiteTier]]:
    """Makes tiers in one folder, and closes them."""
    made: list[SQLiteTier] = []

    def make_one(**options: object) -> SQLiteTier:
        settings: dict[str, object] = {"timeout": 5.0, "clock": clock, **options}
        made.append(SQLiteTier(tmp_path / "data", **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make_one
    for tier in made:
        tier.close()
