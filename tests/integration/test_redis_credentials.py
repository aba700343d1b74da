"""A provider of credentials that fails for a while: no call does, and what follows is heard."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from millpond import Engine
from millpond.io.redis_url import RedisSettings
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until


class Provider:
    """Of a vault that cannot be reached at first."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.works = False
        self.asked: set[str] = set()

    def get_credentials(self) -> tuple[str, ...]:
        self.asked.add(threading.current_thread().name)
        if not self.works:
            raise self.error
        return ()

    async def get_credentials_async(self) -> tuple[str, ...]:
        return self.get_credentials()


@pytest.mark.parametrize("error", [RuntimeError("the vault is shut"), ValueError("no token")])
def test_one_that_fails_at_first(own_redis: RedisServer, error: Exception) -> None:
    provider: Any = Provider(error)
    settings = RedisSettings(host="127.0.0.1", port=own_redis.port, credentials=provider)
    with Engine(redis=settings, database=False) as mill:
        function = mill.with_cache(namespace="test", key=lambda x: x)(lambda x: x + 1)

        async def later(x: int) -> int:
            return x + 1

        cached = mill.with_cache(namespace="test", key=lambda x: x)(later)

        async def call() -> int:
            return await cached(1)

        assert function(1) == 2
        assert asyncio.run(call()) == 2
        wait_until(lambda: "millpond-feed" in provider.asked, "the feed has tried")
        assert not mill.stats()["redis"]["coherence"]["heard"]
        provider.works = True
        wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"], "changes are heard")
