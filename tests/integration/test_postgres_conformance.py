"""The PostgreSQL tier keeps every promise of a tier, with and without a pooler between."""

from __future__ import annotations

import pytest

from millpond.testing.tier_conformance import TierConformance
from millpond.tiers.postgres import PostgresTier
from tests.integration.servers import PgBouncer, PostgresServer


class TestPostgresTier(TierConformance):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, postgres_server: PostgresServer) -> None:
        cls.url = postgres_server.url

    url: str

    def make_tier(self) -> PostgresTier:
        return PostgresTier(self.url, max_connections=4)


class TestPostgresTierBehindPgbouncer(TierConformance):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, pgbouncer: PgBouncer) -> None:
        cls.url = pgbouncer.url

    url: str

    def make_tier(self) -> PostgresTier:
        return PostgresTier(self.url, pgbouncer=True, max_connections=4)
