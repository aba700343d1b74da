"""A tier behind its breaker: what starts the prober, and what a call is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from millpond import _engine
from millpond.cache.invalidation import replay, replay_directly
from millpond.cache.stage import Budget, Stage
from millpond.cache.steps import drive
from millpond.errors import LimitError, TierError
from millpond.io.deadline import Deadline
from millpond.testing import ManualClock
from millpond.tiers.base import Entry, Fetched


class Scripted:
    """A tier that does as it is told."""

    name = "scripted"
    shared = False
    timeout = 1.0
    max_ttl = 60.0

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.seconds = 0.0
        self.deletions = 0
        self.error: BaseException | None = None

    def _do(self) -> None:
        self.clock.advance(self.seconds)
        if self.error is not None:
            raise self.error

    def fetch(self, _keys: Any, _names: Any, _deadline: Any) -> Fetched:
        self._do()
        return Fetched([], [], [])

    def store(self, entries: Any, _deadline: Any) -> list[bool]:
        self._do()
        return [True for _ in entries]

    def write(self, _entries: Any, _deadline: Any) -> None:
        self._do()

    def delete(self, keys: Any, _deadline: Any) -> list[bool]:
        self.deletions += 1
        self._do()
        return [True for _ in keys]

    def incr(self, _key: str, _amount: int, _ttl: Any, _deadline: Any) -> int:
        self._do()
        return 1


@pytest.fixture
def tier() -> Scripted:
    return Scripted(ManualClock())


def staged(tier: Any, name: str) -> Stage:
    monitor = _engine.TierMonitor(name, clock=tier.clock, seed=1)
    return Stage(tier, monitor, default_ttl=10)


@pytest.fixture
def stage(tier: Scripted) -> Stage:
    made = staged(tier, "scripted")
    made.opened = lambda: opened.append(made)
    opened.clear()
    return made


opened: list[Stage] = []


def fetch(stage: Stage) -> Any:
    return stage.ask(Budget(1.0), "fetch", [], [])


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(0.5, None), (0.0, TierError("gone", tier="scripted")), (0.0, RuntimeError("a bug"))],
    ids=["slow", "failing", "foreign"],
)
def test_a_tier_that_is_found_out_is_probed(
    stage: Stage,
    tier: Scripted,
    seconds: float,
    error: Exception | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tier.seconds, tier.error = seconds, error
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            fetch(stage)
    assert stage.is_out()
    assert opened == [stage]
    assert caplog.text.count("is out") == 1
    assert fetch(stage) is None


def test_a_tier_that_is_full_is_probed_and_read_meanwhile(stage: Stage, tier: Scripted) -> None:
    tier.error = TierError("no room", tier="scripted", kind="full")
    entries = [Entry("k", b"data", 1.0)]
    for _ in range(10):
        stage.ask(Budget(1.0), "store", entries)
    assert opened == [stage]
    tier.error = None
    assert fetch(stage) == Fetched([], [], [])
    assert stage.ask(Budget(1.0), "store", entries) is None


def test_no_answer_is_an_answer(stage: Stage) -> None:
    assert stage.ask(Budget(1.0), "write", [Entry("k", b"data", 1.0)]) is True


def test_without_budget_nothing_is_asked(stage: Stage) -> None:
    assert stage.ask(Budget(0.0), "fetch", [], []) is None
    assert stage.ask(Budget(0.0), "store", []) is None
    snapshot = stage.monitor.snapshot()
    assert snapshot["fills_dropped"] == 1
    assert not any(one["calls"] for one in snapshot["operations"].values())


@pytest.mark.parametrize("error", [TierError("gone"), LimitError("too much")])
def test_who_asks_for_a_number_gets_it_or_the_error(
    stage: Stage, tier: Scripted, error: Exception
) -> None:
    assert stage.ask(Budget(1.0), "incr", "k", 1, None) == 1
    tier.error = error
    with pytest.raises(type(error)):
        stage.ask(Budget(1.0), "incr", "k", 1, None)
    assert stage.monitor.snapshot()["in_flight"] == 0


def test_ctrl_c_says_nothing_about_the_tier(stage: Stage, tier: Scripted) -> None:
    tier.error = KeyboardInterrupt()
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            fetch(stage)
    assert not stage.is_out()
    assert stage.monitor.snapshot()["in_flight"] == 0


@pytest.mark.parametrize("kind", ["full", "not_ready"])
def test_a_tier_that_refuses_its_journal_is_not_asked_at_every_call(
    stage: Stage, tier: Scripted, kind: str
) -> None:
    stage.journal = _engine.Journal(clock=tier.clock)
    stage.owe("delete", ["k"])
    tier.error = TierError("no", tier="scripted", kind=kind)
    for tries in (1, 2, 3):
        assert not any(drive(replay(stage, Budget(1.0))) for _ in range(100))
        assert tier.deletions == tries
        tier.clock.advance(0.1)
    tier.error = None
    assert drive(replay(stage, Budget(1.0)))
    assert (tier.deletions, len(stage.journal)) == (4, 0)


def test_who_finds_a_tier_back_tells_it_at_once(stage: Stage, tier: Scripted) -> None:
    stage.journal = _engine.Journal(clock=tier.clock)
    stage.owe("delete", ["k"])
    tier.error = TierError("no", tier="scripted")
    assert not drive(replay(stage, Budget(1.0)))
    tier.error = None
    replay_directly(stage, Deadline.after(1.0))
    assert len(stage.journal) == 0


def test_a_replay_that_is_cancelled_says_nothing_about_the_tier(
    stage: Stage, tier: Scripted
) -> None:
    stage.journal = _engine.Journal(clock=tier.clock)
    stage.owe("delete", ["k"])
    steps = replay(stage, Budget(1.0))
    next(steps)
    steps.close()
    assert drive(replay(stage, Budget(1.0)))


def test_a_replay_that_is_cancelled_before_faster_tiers_are_told_is_told_to_all_again(
    stage: Stage, tier: Scripted
) -> None:
    faster = Scripted(tier.clock)
    stage.faster = (staged(faster, "faster"),)
    stage.journal = _engine.Journal(clock=tier.clock)
    dropped: list[list[str]] = []
    stage.drop = lambda _, what: dropped.append(what)
    stage.owe("delete", ["k"])
    steps = replay(stage, Budget(1.0))
    assert next(steps)[0] is stage
    assert steps.send([True])[0] is stage.faster[0]
    steps.close()
    assert len(stage.journal) == 1
    assert drive(replay(stage, Budget(1.0)))
    assert (tier.deletions, faster.deletions, dropped) == (1, 1, [["k"]])


def test_a_faster_tier_that_a_replay_has_no_time_for_is_told_before_it_is_read(
    stage: Stage, tier: Scripted
) -> None:
    faster = staged(Scripted(tier.clock), "faster")
    stage.faster = (faster,)
    stage.owe("delete", ["k"])
    budget = Budget(1.0)
    steps = replay(stage, budget)
    asked, op, args = next(steps)
    asked, op, args = steps.send([True])
    # Both share the time of the call that comes here.
    assert (asked, op, args[0]) == (faster, "delete", budget)
    with pytest.raises(StopIteration):
        steps.send(None)
    assert (len(stage.journal), len(faster.journal)) == (0, 1)
