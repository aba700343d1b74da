"""The Redis tier keeps every promise of a tier, on one server and on a Cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millpond.io.redis_url import RedisSettings
from millpond.testing.tier_conformance import TierConformance
from millpond.tiers.redis import RedisTier
from tests.integration.servers import RedisCluster, RedisServer


class TestRedisTier(TierConformance):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, redis_server: RedisServer) -> None:
        cls.url = redis_server.url

    url: str

    def make_tier(self) -> RedisTier:
        return RedisTier(self.url)


class TestRedisTierOnACluster(TierConformance):
    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls) -> Iterator[None]:
        with RedisCluster(replicas=0) as cluster:
            cls.settings = RedisSettings(nodes=tuple(cluster.addresses))
            yield

    settings: RedisSettings

    def make_tier(self) -> RedisTier:
        return RedisTier(self.settings)
