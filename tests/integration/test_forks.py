"""An Engine that was used before a fork: the child hears for itself, the parent notices nothing."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from millpond import Engine
from tests.integration.children import Child
from tests.integration.fork_process import GRACE
from tests.integration.redis_server import RedisServer
from tests.integration.servers import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["redis", "postgresql", "sqlite", "redis+sqlite"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What the Engine is opened with."""
    match request.param:
        case "redis":
            return {"redis": request.getfixturevalue("redis_url"), "database": False}
        case "postgresql":
            return {"database": request.getfixturevalue("postgres_url")}
        case "sqlite":
            return {"data_dir": str(tmp_path / "data")}
        case _:
            redis = request.getfixturevalue("redis_url")
            return {"redis": redis, "data_dir": str(tmp_path / "data")}


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    program = ["-W", "ignore::DeprecationWarning", "-m", "tests.integration.fork_process"]
    done = subprocess.run(
        [sys.executable, *program, json.dumps(options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_child_hears_of_what_its_parent_invalidates(options: dict[str, Any]) -> None:
    child, parent = run(options)
    assert child["seconds"] < GRACE
    assert parent == {"status": 0, "heard": True, "lost": False}


def test_a_child_finds_a_tier_back_that_was_out_at_the_fork(own_redis: RedisServer) -> None:
    with Engine(redis=own_redis.url, database=False) as mill:

        @mill.with_cache(namespace="test")
        def f(x: int) -> int:
            return x

        def is_out() -> bool:
            return bool(mill.stats()["redis"]["state"] != "closed")

        calls = itertools.count()
        own_redis.kill()
        wait_until(lambda: f(next(calls)) >= 0 and is_out(), "the tier is found to be out")

        def work() -> bool:
            wait_until(lambda: f(next(calls)) >= 0 and not is_out(), "the child finds it back")
            return is_out()

        child = Child(work)
        own_redis.start()
        assert child.result() is False
        wait_until(lambda: not is_out(), "so does the parent")


def test_an_engine_that_is_used_after_it_was_closed_finds_a_tier_back(
    own_redis: RedisServer,
) -> None:
    mill = Engine(redis=own_redis.url, database=False).open()

    @mill.with_cache(namespace="test")
    def f(x: int) -> int:
        return x

    calls = itertools.count()
    own_redis.kill()
    wait_until(
        lambda: f(next(calls)) >= 0 and mill.stats()["redis"]["state"] != "closed", "it is out"
    )
    mill.close()
    own_redis.start()
    wait_until(
        lambda: f(next(calls)) >= 0 and mill.stats()["redis"]["state"] == "closed", "it is back"
    )
    mill.close()
