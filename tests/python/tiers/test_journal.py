"""Journal: what Python hands to it. Its order and its runs are tested in journal_test.cpp."""

from __future__ import annotations

import os
from typing import Any

import pytest

from millpond._engine import Journal
from millpond.errors import ConfigurationError
from millpond.testing import ManualClock


def test_what_is_pending_is_handed_out_until_the_tier_was_told() -> None:
    journal = Journal()
    assert not journal
    assert journal.take() is None
    journal.add_names(["n1", "n2"])
    journal.add_keys({"k1": 1, "k2": 2})
    journal.add_keys(["k1"])
    assert len(journal) == 4
    assert journal.bytes == 4 * 102

    batch = journal.take(1)
    assert batch
    assert batch[1:] == ("names", ["n1"])
    assert journal.take() is None
    assert journal.failed(batch[0])
    assert not journal.done(batch[0])

    told: list[tuple[str, list[str]]] = []
    while batch := journal.take():
        told.append((batch[1], batch[2]))
        assert journal.done(batch[0])
    assert told == [("names", ["n1", "n2"]), ("keys", ["k1", "k2"])]
    assert not journal


def test_too_much_is_everything() -> None:
    for journal in (Journal(max_items=3), Journal(max_bytes=310)):
        journal.add_keys(["a", "b", "c"])
        assert not journal.everything
        journal.add_keys(["d"])
        assert journal.everything
        assert (len(journal), journal.overflows) == (1, 1)
        batch = journal.take()
        assert batch
        assert batch[1:] == ("everything", [])
        assert journal.done(batch[0])
        assert not journal
    journal = Journal()
    journal.add_everything()
    assert journal.everything
    assert journal.overflows == 0


def test_texts_may_be_anything_that_python_has() -> None:
    journal = Journal()
    keys = ["", "clé", "a\0b", "鍵" * 100]
    journal.add_keys(keys)
    batch = journal.take()
    assert batch
    assert batch[2] == keys


def test_an_iterable_may_use_the_journal() -> None:
    journal = Journal()

    def keys() -> Any:
        yield "a"
        batch = journal.take()
        assert batch
        assert journal.done(batch[0])
        yield "b"
        yield "a"

    journal.add_keys(keys())
    batch = journal.take()
    assert batch
    assert batch[2] == ["b", "a"]


def test_after_a_refusal_it_waits_unless_it_is_asked_not_to() -> None:
    clock = ManualClock()
    journal = Journal(clock=clock)
    journal.add_keys(["a"])
    batch = journal.take()
    assert batch
    assert journal.failed(batch[0], refused=True)
    assert journal.take() is None
    clock.advance(0.05)
    assert journal.take() is None
    assert len(journal) == 1
    batch = journal.take(eager=True)
    assert batch
    assert journal.failed(batch[0], refused=True)
    clock.advance(0.1)
    assert journal.take()


def test_what_cannot_be_is_refused() -> None:
    anything: Any = Journal
    for options in ({"max_items": 0}, {"max_bytes": 0}):
        with pytest.raises(ConfigurationError, match="above 0"):
            anything(**options)
    journal = anything()
    with pytest.raises(ConfigurationError, match="max_items=0"):
        journal.take(0)
    for wrong in (
        lambda: journal.add_keys("abc"),
        lambda: journal.add_keys(5),
        lambda: journal.add_keys([5]),
        lambda: journal.take(-1),
        lambda: anything(10, 10),
        lambda: anything(clock=1),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(UnicodeEncodeError):
        journal.add_names(["\udc80"])
    assert len(journal) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_tells_what_its_parent_is_telling() -> None:
    journal = Journal()
    journal.add_keys(["a"])
    batch = journal.take()
    assert batch
    child = os.fork()
    if child == 0:
        again = journal.take()
        os._exit(7 if again is not None and again[2] == ["a"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert journal.done(batch[0])
    assert not journal
