"""An Engine that was used before a fork: the child hears for itself, the parent notices nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fork_process import GRACE

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
