"""Recorded histories of four processes on one tier, checked against the promise."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from millpond import Engine
from tests.integration.matrix import history
from tests.integration.matrix.history import Change, History, Read
from tests.integration.matrix.worker import KEYS, PROCESSES, Source
from tests.integration.process import clean_environment

SECONDS = 1.5
# What another process invalidated is heard of within milliseconds; the rest is for a busy machine.
BOUND = 0.5
GRACE = 1.2


class Recording:
    """Four processes on the same tiers, for SECONDS and until `end`.

    Args:
        folder: for their notes and for the source.
        engine: the options of their Engines.
        broken: how their Engines are to break the promise.
    """

    def __init__(self, folder: Path, engine: dict[str, Any], *, broken: str = "", **more: Any):
        self._folder = folder
        self._given = {"engine": engine, "broken": broken, "source": str(folder / "source"), **more}
        self._numbers = itertools.count()
        self._processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)
        Source.make(folder / "source")

    def __enter__(self) -> Recording:
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop)
            for _ in range(PROCESSES):
                self._start(next(self._numbers))
            for process in self._processes:
                self._wait(process)
            for process in self._processes:
                self._go(process)
            self._latest = time.monotonic() + SECONDS
            stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def kill_one(self, victim: int) -> None:
        """SIGKILL; another process takes its place."""
        process = self._processes[victim]
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        number = next(self._numbers)
        # The one that has the same keys for itself.
        while number % PROCESSES != victim:
            number = next(self._numbers)
        process = self._start(number, victim)
        self._wait(process)
        self._go(process)
        self._latest = max(self._latest, time.monotonic() + SECONDS / 4)

    def suspend(self, seconds: float) -> None:
        """SIGSTOP one of them for a while."""
        process = self._processes[0]
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def wait_for_reads(self) -> None:
        """Until each process that runs has read something more."""
        files = [Path(json.loads(process.args[-1])["output"]) for process in self._processes]
        before = [_reads(file) for file in files]
        until = time.monotonic() + 60
        while any(_reads(file) <= had for file, had in zip(files, before, strict=True)):
            assert time.monotonic() < until
            time.sleep(0.05)

    def end(self) -> History:
        """What all of them noted, also those that were killed."""
        time.sleep(max(0.0, self._latest - time.monotonic()))
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        for process in self._processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in self._processes] == [0] * PROCESSES
        return history.load(self._folder.glob("notes-*"))

    def _start(self, number: int, place: int = PROCESSES) -> subprocess.Popen[bytes]:
        output = str(self._folder / f"notes-{number}")
        given = self._given | {"number": number, "seed": 1000 + number * 10, "output": output}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.matrix.worker", json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            env=clean_environment(),
        )
        self._processes[place : place + 1] = [process]
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def _go(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()

    def _stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()


def _reads(file: Path) -> int:
    return file.read_bytes().count(b'"read"') if file.exists() else 0


def record(folder: Path, engine: dict[str, Any], *, broken: str = "") -> History:
    """What four processes note in some seconds on the same tiers."""
    with Recording(folder, engine, broken=broken) as recording:
        return recording.end()


@pytest.fixture(params=["redis+sqlite", "sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    given: dict[str, Any] = {"database": False}
    if "redis" in request.param:
        given["redis"] = request.getfixturevalue("redis_url")
    if "postgresql" in request.param:
        given["database"] = request.getfixturevalue("postgres_url")
    if "sqlite" in request.param:
        given |= {"database": None, "data_dir": str(tmp_path / "data")}
    return given


def test_no_process_gives_what_any_of_them_has_invalidated(
    engine: dict[str, Any], tmp_path: Path
) -> None:
    found = record(tmp_path / "run", engine)
    assert len({read.process for read in found.reads}) == PROCESSES
    assert sum(change.done is not None for change in found.changes) > 100
    assert len(found.reads) > 500
    assert history.check(found, BOUND) == []


@pytest.mark.parametrize("broken", ["deaf", "forgets"])
def test_a_product_that_breaks_the_promise_is_found_out(
    redis_url: str, tmp_path: Path, broken: str
) -> None:
    found = record(tmp_path, {"redis": redis_url, "database": False}, broken=broken)
    assert len(history.check(found, BOUND)) > 10


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_whoever_is_killed_takes_nothing_with_it(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Writers are killed at random points, and once the server too."""
    server = request.getfixturevalue("own_redis" if kind == "redis" else "own_postgres")
    engine = {"coherence_grace": GRACE, "database": False}
    engine["redis" if kind == "redis" else "database"] = server.url
    chance = random.Random(5)
    with Recording(tmp_path, engine, timeout=0.5) as recording:
        for victim in chance.sample(range(PROCESSES), 2):
            time.sleep(chance.uniform(0.0, SECONDS / 4))
            recording.kill_one(victim)
        server.kill()
        server.start()
        recording.wait_for_reads()
        found = recording.end()
    assert len({read.process for read in found.reads}) > PROCESSES
    assert sum(change.done is not None for change in found.changes) > 100
    assert history.check(found, GRACE + BOUND) == []
    # A new process, with an empty memory, is given nothing else.
    with Engine(namespace="history", **engine) as mill:
        numbers = mill.cache("numbers", ttl="10m")
        began = time.monotonic()
        given = {key: numbers.get(key) for key in range(KEYS)}
        reads = [
            Read(-1, f"cache {key}", version, began, time.monotonic())
            for key, version in given.items()
            if version is not None
        ]
    assert history.check(History(found.changes, reads), 0.0) == []


@pytest.mark.parametrize("kind", ["redis", "sqlite"])
def test_a_process_that_was_suspended_trusts_nothing_longer_than_the_grace(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What it was told meanwhile waits in its socket, and what it has is older than that."""
    engine: dict[str, Any] = {"coherence_grace": GRACE, "database": False}
    if kind == "sqlite":
        engine |= {"database": None, "data_dir": str(tmp_path / "data")}
    else:
        engine["redis"] = request.getfixturevalue("redis_url")
    with Recording(tmp_path, engine) as recording:
        time.sleep(SECONDS / 8)
        recording.suspend(1.2 * GRACE)
        found = recording.end()
    assert history.check(found, GRACE + BOUND if kind != "sqlite" else BOUND) == []


# ---- The checker


def change(version: int, at: float, done: float | None, process: int = 1) -> Change:
    return Change(process, "k", version, at, done)


def read(version: int, began: float, process: int = 0, ended: float = 100.0) -> Read:
    return Read(process, "k", version, began, ended)


def violations(changes: list[Change], *reads: Read) -> list[int]:
    return [one.read.version for one in history.check(History(changes, list(reads)), 1.0)]


def test_an_old_version_is_allowed_until_the_bound_is_over() -> None:
    changes = [change(1, 10.0, 11.0)]
    assert violations(changes, read(0, 10.5), read(0, 11.9), read(1, 50.0)) == []
    assert violations(changes, read(0, 12.1)) == [0]


def test_the_process_that_invalidated_has_no_bound() -> None:
    changes = [change(1, 10.0, 11.0)]
    assert violations(changes, read(0, 10.9, process=1)) == []
    assert violations(changes, read(0, 11.1, process=1)) == [0]


def test_what_was_not_reported_done_promises_nothing() -> None:
    assert violations([change(1, 10.0, None)], read(0, 50.0)) == []


def test_a_version_that_the_source_never_had_is_a_violation() -> None:
    changes = [change(1, 10.0, 11.0)]
    assert violations(changes, read(2, 50.0)) == [2]
    assert violations(changes, read(1, 9.0, ended=9.5)) == [1]
    assert violations([], read(0, 1.0)) == []


def test_reports_that_overtake_each_other_count_by_version() -> None:
    changes = [change(1, 10.0, 13.0), change(2, 11.0, 12.0)]
    assert violations(changes, read(2, 50.0), read(0, 12.9)) == []
    assert violations(changes, read(1, 13.5), read(0, 13.5)) == [1, 0]


def test_delays_are_of_what_others_invalidated_before() -> None:
    changes = [change(1, 10.0, 11.0), change(2, 20.0, 21.0)]
    found = History(changes, [read(0, 10.9), read(0, 11.5), read(1, 21.25), read(2, 30.0)])
    assert history.delays(found) == [0.5, 0.25]
