"""The SQLite tier keeps what every tier promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from millpond.testing.tier_conformance import TierConformance
from millpond.tiers.sqlite import SQLiteTier

if TYPE_CHECKING:
    from pathlib import Path


class TestSQLiteTier(TierConformance):
    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_tier(self) -> SQLiteTier:
        return SQLiteTier(self.folder, timeout=self.seconds)
