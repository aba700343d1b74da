"""What a look-up sends to a Redis, and what its reply holds."""

from __future__ import annotations

from typing import Any

import pytest

from millpond._engine import redis_found, redis_lookup
from millpond.io.redis_wire import pack


@pytest.mark.parametrize("keys", [[], ["a:f:1:00"], ["a:f:1:00", "ä", "x" * 300]])
@pytest.mark.parametrize("names", [[], ["9f3a", "00"]])
def test_it_is_the_command_that_pack_makes(keys: list[str], names: list[str]) -> None:
    guards = [b"~g:n:{" + key.encode() + b"}" for key in keys]
    stamps = [b"~g:n:" + name.encode() for name in names]
    wanted = [*guards, *(key.encode() for key in keys), *stamps]
    assert redis_lookup(keys, names, b"~g:n:{", b"~g:n:") == pack(b"MGET", *wanted)


def test_a_reply_is_entries_guards_and_stamps() -> None:
    reply = [None, b"17", b"one", None, b"5", None]
    assert redis_found(reply, 2, 2) == ([b"one", None], [0, 17], [5, None])
    assert redis_found([], 0, 0) == ([], [], [])


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        (None, None),
        [None],
        [None, None, None],
        [b"x", None],
        [b"", None],
        [b"-", None],
        [b"1" * 21, None],
        [b"1 ", None],
        [None, 5],
        [None, "text"],
    ],
)
def test_anything_else_is_no_reply(reply: Any) -> None:
    assert redis_found(reply, 1, 0) is None


@pytest.mark.parametrize("args", [([1], []), (["a"], [b"n"]), (5, []), (["\ud800"], [])])
def test_what_is_no_text_is_not_sent(args: Any) -> None:
    with pytest.raises((TypeError, UnicodeEncodeError)):
        redis_lookup(*args, b"~g:n:{", b"~g:n:")
