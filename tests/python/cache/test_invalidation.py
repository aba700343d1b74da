"""What a tier has not been told is kept until it has been."""

from __future__ import annotations

import pytest

from millpond import _engine
from millpond.cache.invalidation import replay_directly
from millpond.cache.stage import Stage
from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.tiers.redis import RedisTier

NAME = "0123456789abcdef" * 2


def test_a_replay_that_fails_is_due_again_even_while_its_error_is_kept() -> None:
    tier = RedisTier("redis://127.0.0.1:1")  # Where nobody listens.
    stage = Stage(tier, _engine.TierMonitor("redis"), default_ttl=60.0)
    stage.owe("bump", [NAME])
    with pytest.raises(TierError) as kept:
        replay_directly(stage, Deadline.after(1.0))
    tier.close()
    assert kept.value.__traceback__ is not None
    due = stage.journal.take()
    assert due is not None
    assert due[1:] == ("names", [NAME])
