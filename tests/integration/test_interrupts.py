"""Ctrl-C where any function begins or ends that takes a connection: whoever comes next goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from millpond import Engine
from tests.integration.redis_server import RedisServer

# The code in which it comes.
PLACES = (
    "/millpond/io/redis_pool.py",
    "/millpond/io/reaper.py",
    "/cache/leases.py",
    "/threading.py",
)


def interrupted(call: Callable[[], Any], at: int) -> bool:
    """Make a call that is interrupted as a function begins or ends; whether there are so many."""
    left = at

    def trace(frame: Any, event: str, _arg: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(PLACES):
            return None
        if event not in ("call", "return"):
            return trace
        left -= 1
        if left == -1:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return left < 0


@pytest.fixture
def mill(own_redis: RedisServer) -> Iterator[Engine]:
    with Engine(redis=own_redis.url, database=False) as made:
        yield made


def test_whoever_comes_next_goes_on(mill: Engine) -> None:
    function = mill.with_cache(namespace="test", key=lambda x: x)(lambda x: x)
    tier: Any = mill.tier("redis")
    at, numbers = 0, iter(range(10**6))

    def call() -> int:
        tier._single.pool.clear()  # So that a connection is made.
        return int(function(next(numbers)))

    with ThreadPoolExecutor(1) as pool:
        while interrupted(call, at):
            found = pool.submit(call)
            assert found.result(20) >= 0, f"interrupted at {at}"
            at += 1
    assert at > 20
    assert threading.active_count() < 20
