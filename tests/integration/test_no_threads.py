"""A process that may have no more threads: no call fails, and all is well when it may again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from millpond import Engine
from tests.integration.redis_server import RedisServer
from tests.waiting import wait_until


def forbid_threads(monkeypatch: pytest.MonkeyPatch, names: str = "millpond") -> list[str]:
    """Those whose names begin so; which were refused."""
    start, stopped = threading.Thread.start, list[str]()

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith(names):
            stopped.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    return stopped


def test_no_call_fails_and_it_recovers(
    engine: Callable[..., Engine], tier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill = engine()
    calls: list[int] = []

    @mill.with_cache(namespace="test", ttl="10m")
    def f(x: int) -> int:
        calls.append(x)
        return x

    with monkeypatch.context() as patched:
        forbid_threads(patched)
        assert [f(x) for x in range(20)] == list(range(20))
        mill.invalidate(tags="any")
    numbers = itertools.count(100)

    def works() -> bool:
        f(next(numbers))
        stats = mill.stats()[tier]
        stored = stats["operations"].get("store") or stats["operations"].get("lease")
        return stats["state"] == "closed" and stats["coherence"]["heard"] and stored["calls"] > 3

    wait_until(works, "values are stored, and changes heard")
    mill.close()


def test_a_deadline_holds_after_a_thread_could_not_be_started(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill = Engine(redis=own_redis.url, database=False)

    @mill.with_cache(namespace="test")
    def f(x: int) -> int:
        return x

    with monkeypatch.context() as patched:
        forbid_threads(patched)
        assert f(1) == 1
    numbers = itertools.count(2)
    wait_until(
        lambda: (
            f(next(numbers))
            and mill.stats()["redis"]["operations"]["fetch"]["bytes_in"] == 0
            and mill.stats()["redis"]["state"] == "closed"
        ),
        "it works",
    )
    own_redis.freeze()
    done = threading.Event()

    def call() -> None:
        f(next(numbers))
        done.set()

    threading.Thread(target=call, daemon=True).start()
    try:
        assert done.wait(5), "a call hangs with its server"
    finally:
        own_redis.thaw()
    mill.close()


def test_it_hears_of_others_once_there_is_a_thread_for_it(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that looks for the servers was the last that there was."""
    with Engine(redis=own_redis.url, database=False) as mill:
        mill.close()
        with monkeypatch.context() as patched:
            stopped = forbid_threads(patched, "millpond-feed")
            mill.open()
            wait_until(lambda: len(stopped) > 1, "it has tried")
            assert not mill.stats()["redis"]["coherence"]["heard"]
        wait_until(lambda: mill.stats()["redis"]["coherence"]["heard"], "changes are heard")
