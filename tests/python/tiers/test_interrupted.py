"""What a process does at the moment is forgotten also where Ctrl-C came at its very end."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from millpond import _engine
from millpond.cache.wiring import stage_of
from millpond.tiers.redis_own import Own
from tests.python.tiers.memory_tier import MemoryTier

NAME = "1" * 32


class Heard:
    def changed(self, names: Any, keys: Any) -> None: ...

    def everything(self) -> None: ...

    def alive(self, seconds: float) -> None: ...

    def up(self, yes: bool) -> None: ...


@pytest.fixture
def own() -> Own:
    return Own(_engine.GenerationTable(100), Heard())


def interrupted(*_args: Any) -> Any:
    raise KeyboardInterrupt


def test_what_others_do_to_a_key_is_heard_after_a_write_of_it(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Own, "_note", interrupted)
    with pytest.raises(KeyboardInterrupt), own.writing(["k"]) as wrote:
        wrote.guards = {"k": 5}
    del wrote
    gc.collect()
    assert own.keys_pushed(["k"]) == (["k"], {})


def test_and_to_a_name_after_it_was_made(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "_note", interrupted)
    with pytest.raises(KeyboardInterrupt), own.making([NAME]) as made:
        made.take([7], [True])
    del made
    gc.collect()
    assert own.names_pushed([NAME]) == ([NAME], {})


def test_a_lease_whose_call_is_gone_is_renewed_no_more() -> None:
    keeper = stage_of(MemoryTier()).keeper
    assert keeper is not None
    held = keeper.hold("k", 5)
    assert keeper.turn("k") is None
    assert keeper._due(held.renewed + 1) == [held]
    del held
    gc.collect()
    assert keeper._due(float("inf")) == []
    assert keeper.turn("k") is not None
    keeper.close()
