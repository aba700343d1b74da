"""The language of Redis: bytes to replies however they are cut, and refusals to kinds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.io.redis_wire import (
    MAX_DEPTH,
    Damaged,
    Push,
    Refusal,
    Replies,
    Reply,
    first_refusal,
    pack,
    refused,
)

REPLIES = st.recursive(
    st.none() | st.integers(-(1 << 63), (1 << 63) - 1) | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def written(reply: Reply) -> bytes:
    """What a server would send, as the protocol's page says."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    assert isinstance(reply, list)
    return b"*%d\r\n%b" % (len(reply), b"".join(map(written, reply)))


def read(pieces: list[bytes], most: int) -> tuple[list[Reply], bytes, Replies]:
    replies, found, rest = Replies(), list[Reply](), b""
    for piece in pieces:
        rest = replies.feed(rest + piece, found, most - len(found))
    return found, rest, replies


@given(st.lists(REPLIES, min_size=1, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_replies_are_the_same_however_they_are_cut(sent: list[Reply], cuts: list[int]) -> None:
    data = b"".join(map(written, sent))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    found, rest, replies = read(pieces, len(sent))
    assert found == sent
    assert rest == b""
    assert replies.idle
    assert read([bytes([one]) for one in data], len(sent))[0] == sent


def test_no_more_is_read_than_was_asked_for() -> None:
    found, rest, _ = read([b":1\r\n:2\r\n:3\r\n"], 2)
    assert (found, rest) == ([1, 2], b":3\r\n")


def test_a_reply_that_has_begun_is_not_idle() -> None:
    for part in (b"$", b"$5\r\nab", b"*2\r\n:1\r\n", b"*2\r\n:1\r\n:"):
        _, _, replies = read([part], 1)
        assert not replies.idle


def test_pushes_and_refusals_are_what_they_are() -> None:
    found, _, _ = read([b">2\r\n$1\r\na\r\n*-1\r\n-OOM no room\r\n+OK\r\n-ERR\r\n"], 4)
    assert found == [[b"a", None], Refusal("OOM", "no room"), b"OK", Refusal("ERR", "")]
    assert isinstance(found[0], Push)
    assert first_refusal(found) == Refusal("OOM", "no room")


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"$5\r\nabcdefg\r\n",
        b"$-2\r\n",
        b"$ 5\r\n",
        b"$1_0\r\n",
        b":1.5\r\n",
        b":\r\n",
        b":" + b"9" * 40 + b"\r\n",
        b"$999999999999\r\n",
        b"*99999999\r\n",
        b"*1\r\n" * (MAX_DEPTH + 1),
        b"+" + b"x" * 70_000,
    ],
)
def test_what_is_no_reply_is_damage(data: bytes) -> None:
    with pytest.raises(Damaged):
        read([data], 1)


@given(st.binary(max_size=60))
def test_any_bytes_are_replies_or_damage_or_the_beginning_of_one(data: bytes) -> None:
    try:
        read([data], 100)
    except Damaged:
        return


def test_commands_are_packed_by_length() -> None:
    assert pack(b"SET", b"a\r\nb", 12) == b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$2\r\n12\r\n"


@pytest.mark.parametrize(
    ("code", "rest", "kind"),
    [
        ("LOADING", "Redis is loading the dataset in memory", "not_ready"),
        ("MASTERDOWN", "", "not_ready"),
        ("READONLY", "", "not_ready"),
        ("CLUSTERDOWN", "", "not_ready"),
        ("TRYAGAIN", "", "not_ready"),
        ("OOM", "", "full"),
        ("MISCONF", "", "full"),
        ("NOAUTH", "", "configuration"),
        ("NOPERM", "", "configuration"),
        ("WRONGPASS", "", "configuration"),
        ("ERR", "DB index is out of range", "configuration"),
        ("ERR", "The user executing the script can't run this command", "configuration"),
        ("ERR", "unknown command 'MGET', with args beginning with: 'secret'", "configuration"),
        ("ERR", "max number of clients reached", "unavailable"),
        ("ERR", "value is not an integer or out of range", "damaged"),
        ("WRONGTYPE", "", "damaged"),
        ("ERR", "something else about 'secret'", "unavailable"),
        ("secret", "", "unavailable"),
    ],
)
def test_a_refusal_has_a_kind_and_says_nothing_of_keys(code: str, rest: str, kind: str) -> None:
    error = refused(Refusal(code, rest), "redis")
    assert (error.kind, error.tier) == (kind, "redis")
    assert "secret" not in str(error)


@given(
    st.lists(st.none() | st.binary(max_size=9) | st.integers(-9, 9), min_size=1, max_size=60),
    st.integers(1, 40),
)
def test_long_lists_of_strings_are_the_same_however_they_are_cut(
    items: list[Reply], piece: int
) -> None:
    sent: list[Reply] = [items, list(items)]
    data = b"".join(map(written, sent))
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    assert read(pieces, 2)[0] == sent
    assert read([data], 1)[0] == sent[:1]
    assert read([data], 1)[1] == written(items)


def test_damage_within_a_list_of_strings_is_found() -> None:
    whole = written([b"one", None, b"two", b"three"])
    for at, other in ((4, b"!"), (5, b"x"), (11, b"x"), (15, b"x"), (20, b"x"), (26, b"x")):
        with pytest.raises(Damaged):
            read([whole[:at] + other + whole[at + 1 :]], 1)
