"""GenerationTable: what Python hands to it. The interleavings are in generations_test.cpp."""

from __future__ import annotations

import os
from typing import Any

import pytest

from millpond._engine import GenerationTable
from millpond.errors import ConfigurationError
from millpond.testing import ManualClock

NAME = "0123456789abcdef" * 2
OTHER = "f" * 32


@pytest.fixture
def table() -> GenerationTable:
    table = GenerationTable(10)
    table.link_up()
    return table


def test_an_answer_is_known_until_its_push(table: GenerationTable) -> None:
    since = table.sequence()
    assert table.known([NAME]) == [None]
    assert table.learn(NAME, 2**64 - 1, since)
    assert table.known([OTHER, NAME]) == [None, 2**64 - 1]
    assert table.forget(NAME)
    assert not table.forget(NAME)
    assert table.known((NAME,)) == [None]
    assert not table.learn(NAME, 7, since)
    assert table.learn(NAME, 8, table.sequence())


def test_a_name_is_its_bytes_as_well_as_its_digits(table: GenerationTable) -> None:
    since = table.sequence()
    assert table.learn(bytes.fromhex(NAME), 5, since)
    assert table.known([NAME, bytes.fromhex(NAME)]) == [5, 5]
    assert table.names() == [(NAME, 5)]
    assert table.forget(bytes.fromhex(NAME))


def test_after_a_loss_each_has_to_be_compared(table: GenerationTable) -> None:
    since = table.sequence()
    table.learn(NAME, 5, since)
    table.learn(OTHER, 6, since)
    table.link_down()
    assert not table.up
    assert table.known([NAME, OTHER]) == [None, None]
    assert sorted(table.names()) == [(NAME, 5), (OTHER, 6)]
    since = table.link_up()
    assert since == table.sequence()
    assert table.learn(NAME, 5, since)
    assert table.known([NAME, OTHER]) == [5, None]
    table.forget_all()
    assert table.names() == []
    assert len(table) == 0


def test_it_is_bounded(table: GenerationTable) -> None:
    for number in range(100):
        assert table.learn(f"{number:032x}", number, table.sequence())
    assert len(table) == table.limit == 10


def test_how_long_the_link_has_been_as_it_is() -> None:
    clock = ManualClock()
    table = GenerationTable(1, clock=clock)
    clock.advance(2)
    assert table.link_age == pytest.approx(2)
    table.link_up()
    clock.advance(3)
    assert table.link_age == pytest.approx(3)
    table.link_down()
    assert table.link_age == 0
    assert GenerationTable(1).link_age < 60


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_knows_nothing_since_the_link_is_its_parents(
    table: GenerationTable,
) -> None:
    since = table.sequence()
    table.learn(NAME, 5, since)
    child = os.fork()
    if child == 0:
        lost = table.known([NAME]) == [None] and not table.learn(NAME, 5, since) and not table.up
        since = table.link_up()
        again = table.learn(NAME, 5, since) and table.known([NAME]) == [5]
        os._exit(7 if lost and again and table.names() == [(NAME, 5)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert table.known([NAME]) == [5]


def test_what_is_no_name_is_refused_without_being_shown(table: GenerationTable) -> None:
    anything: Any = table
    for wrong in ("secret", "g" * 32, NAME.upper(), b"x" * 32, b"", "é" * 32, 5, None, NAME + "0"):
        for call in (
            lambda name: anything.learn(name, 1, 1),
            anything.forget,
            lambda name: anything.known([name]),
        ):
            with pytest.raises(ConfigurationError, match="16 bytes, or 32 hex") as caught:
                call(wrong)
            assert "secret" not in str(caught.value)


def test_options_are_checked() -> None:
    anything: Any = GenerationTable
    for limit in (0, 2**29):
        with pytest.raises(ConfigurationError, match="limit"):
            GenerationTable(limit)
    with pytest.raises(TypeError, match="clock"):
        anything(1, clock=3)
