"""Values that are set while others change the same."""

from __future__ import annotations

import pytest

from millpond.cache.coherence import Holdings
from millpond.cache.writes import Writes

NAME = "0" * 32


@pytest.fixture
def writes() -> Writes:
    return Writes()


def test_what_nobody_touches_is_kept(writes: Writes) -> None:
    writes.told(["k"])
    with writes.setting(["k"], [NAME]) as write:
        writes.told(["other"])
        assert write.keeps("k")
    writes.told(["k"])
    assert write.keeps("k")


def test_a_key_that_others_change_is_lost_alone(writes: Writes) -> None:
    with writes.setting(["k", "l"], [NAME]) as write:
        writes.told(["k"])
    assert (write.keeps("k"), write.keeps("l")) == (False, True)


def test_a_generation_that_others_change_loses_all(writes: Writes) -> None:
    with writes.setting(["k", "l"], [NAME]) as write:
        writes.told([NAME])
    assert not any(write.keeps(key) for key in "kl")


def test_two_that_set_the_same_at_once_keep_nothing(writes: Writes) -> None:
    with writes.setting(["k", "l"], []) as first:
        with writes.setting(["k"], []) as second:
            pass
        with writes.setting(["m"], []) as third:
            pass
    assert (first.keeps("k"), first.keeps("l"), second.keeps("k")) == (False, True, False)
    assert third.keeps("m")


def test_holdings_tell_of_what_they_drop() -> None:
    holdings = Holdings()
    with holdings.writes.setting(["k"], [NAME]) as write:
        holdings.drop([], ["k"])
    assert not write.keeps("k")
    with holdings.writes.setting(["k"], [NAME]) as write:
        holdings.drop([NAME], [])
    assert not write.keeps("k")
    with holdings.writes.setting(["k"], [NAME]) as write:
        holdings.drop_all()
    assert not write.keeps("k")
