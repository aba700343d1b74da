"""What is asked for again until enough replicas have it; the rest of it is tests/integration's."""

from __future__ import annotations

import os
from typing import Any

import pytest

from millpond import _engine
from millpond.cache.stage import Stage
from millpond.cache.unconfirmed import Unconfirmed
from tests.python.tiers.memory_tier import MemoryTier


class Asked(MemoryTier):
    """A tier whose replicas say what the test says."""

    def __init__(self, replicas: int) -> None:
        super().__init__()
        self.replicas = replicas
        self.asked: list[tuple[list[str], int]] = []

    def confirm(self, stamps: Any, replicas: int, deadline: Any) -> int:
        self.asked.append(([name for name, _ in stamps], replicas))
        return self.replicas


def stage_of(tier: MemoryTier) -> Stage:
    return Stage(tier, _engine.TierMonitor("memory"), default_ttl=60.0)


def test_more_than_can_be_kept_is_refused_and_what_is_kept_may_grow() -> None:
    these = Unconfirmed()
    assert these.add([(f"n{i}", i) for i in range(10_000)], 1)
    assert not these.add([("one more", 1)], 1)
    assert these.add([("n5", 100)], 2)
    assert len(these) == 10_000
    assert not these.expect([f"m{i}" for i in range(10_001)], 1)


def test_who_has_been_asked_in_vain_is_asked_last_the_next_time() -> None:
    these = Unconfirmed()
    tier = Asked(1)
    names = [f"n{i}" for i in range(700)]
    these.add([(name, 7) for name in names], 2)
    these.attempt(stage_of(tier))
    these.attempt(stage_of(tier))
    assert tier.asked == [(names[:500], 2), (names[500:] + names[:300], 2)]
    assert len(these) == 700
    tier.replicas = 2
    these.attempt(stage_of(tier))
    assert len(these) == 0
    assert these.due_in() is None


def test_those_that_want_fewer_replicas_are_done_before() -> None:
    these = Unconfirmed()
    these.add([("one", 7)], 1)
    these.add([("two", 7)], 2)
    tier = Asked(1)
    these.attempt(stage_of(tier))
    assert tier.asked == [(["one", "two"], 2)]
    assert len(these) == 1
    due = these.due_in()
    assert due is not None
    assert 0 < due <= 1.0


def test_what_the_journal_tells_is_asked_for_then() -> None:
    these = Unconfirmed()
    assert these.expect(["a", "b"], 2)
    assert len(these) == 0
    assert not these.told(["c"], [1], everything=False)
    assert these.told(["a", "c"], [1, 2], everything=False)
    assert len(these) == 1
    # What stands for all stands for what is still to be told.
    assert these.told(["space"], [3], everything=True)
    assert len(these) == 2
    assert not these.told(["b"], [4], everything=False)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_the_child_of_a_fork_leaves_it_to_its_parent() -> None:
    these = Unconfirmed()
    these.add([("a", 1)], 1)
    child = os.fork()
    if child == 0:
        os._exit(7 if len(these) == 0 and these.due_in() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(these) == 1
