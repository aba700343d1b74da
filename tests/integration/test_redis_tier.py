"""Every method of the Redis tier, in both faces, against a real server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis as client_library

from millpond.errors import LimitError, TierError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry, Tier
from millpond.tiers.redis import RedisTier
from tests.integration.faces import Face
from tests.integration.servers import RedisServer

NAME = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2
TOP, BOTTOM = (1 << 63) - 1, -(1 << 63)


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Face]:
    tier = RedisTier(redis_url, namespace="app")
    if request.param == "sync":
        yield Face(tier, None)
        tier.close()
        return
    with asyncio.Runner() as runner:
        yield Face(tier, runner)
        runner.run(tier.aclose())


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[client_library.Redis]:
    with redis_server.client() as client:
        yield client


def entry(key: str = "app:f:1:a", data: bytes = b"data", **other: Any) -> Entry:
    return Entry(key, data, other.pop("ttl", 60.0), **other)


def test_it_is_a_tier(redis_url: str) -> None:
    tier = RedisTier(redis_url)
    assert isinstance(tier, Tier)
    assert (tier.name, tier.shared, tier.timeout, tier.max_ttl) == ("redis", True, 0.05, 3600.0)


def test_what_is_absent_is_none_without_guard_or_stamp(face: Face) -> None:
    assert face.fetch(["app:f:1:a"], []) == ([None], [0], [])
    assert face.fetch(["app:f:1:a", "b"], [NAME]) == ([None, None], [0, 0], [None])
    assert face.fetch([], [NAME]) == ([], [], [None])
    assert face.fetch([], []) == ([], [], [])


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"$-1\r\n", bytes(range(256)), b"x" * 65536, b"\x00" * 3_000_000],
    ids=len,
)
def test_bytes_come_back_as_they_were(face: Face, data: bytes) -> None:
    assert face.store([entry(data=data)]) == [True]
    assert face.fetch(["app:f:1:a"], []).data == [data]
    assert face.fetch(["no", "app:f:1:a", "no"], [NAME]).data == [None, data, None]


def test_an_entry_lives_as_long_as_it_is_to(face: Face, server: client_library.Redis) -> None:
    face.store([entry("short", ttl=20.0), entry("long", ttl=1e9), entry("least", ttl=1e-9)])
    assert 19_000 < server.pttl("short") <= 20_000
    assert 3_599_000 < server.pttl("long") <= 3_600_000
    assert face.inspect("short").data == b"data"
    assert 19 < face.inspect("short").ttl <= 20
    assert face.inspect("nothing") is None
    deadline = time.monotonic() + 5
    while face.fetch(["least"], []).data != [None]:
        assert time.monotonic() < deadline


def test_store_is_refused_when_the_guard_has_risen(face: Face) -> None:
    [guard] = face.fetch(["k"], []).guards
    assert face.delete(["k"]) == [False]
    assert face.store([entry("k", guard=guard)]) == [False]
    assert face.fetch(["k"], []).data == [None]

    [guard] = face.fetch(["k"], []).guards
    assert guard > 0
    assert face.store([entry("k", guard=guard), entry("other", guard=guard)]) == [True, False]
    assert face.fetch(["k", "other"], []).data == [b"data", None]


def test_write_stores_whatever_is_there_and_raises_the_guard(face: Face) -> None:
    face.write([entry("k", b"one")])
    data, [first], _ = face.fetch(["k"], [])
    assert data == [b"one"]
    face.write([entry("k", b"two", guard=123)])
    data, [second], _ = face.fetch(["k"], [])
    assert data == [b"two"]
    assert second > first > 0


def test_delete_says_what_was_there_and_raises_the_guard(face: Face) -> None:
    face.store([entry("k"), entry("l")])
    assert face.delete(["k", "no"]) == [True, False]
    assert face.fetch(["k", "l"], []).data == [None, b"data"]
    guards = face.fetch(["k", "no", "l"], []).guards
    assert guards[0] > 0
    assert guards[1] > 0
    assert guards[2] == 0
    face.store([entry("k", guard=guards[0])])
    assert face.erase(["k", "l", "no"]) == 2
    assert face.fetch(["k", "l"], []).data == [None, None]
    assert face.fetch(["k"], []).guards[0] > guards[0]


def test_a_guard_goes_after_an_hour_and_a_generation_stays(
    face: Face, server: client_library.Redis
) -> None:
    face.delete(["k"])
    face.stamp([NAME])
    face.bump([OTHER])
    assert 3_599_000 < server.pttl("~g:app:{k}") <= 3_600_000
    assert server.pttl(f"~g:app:{NAME}") == server.pttl(f"~g:app:{OTHER}") == -1


def test_a_stamp_is_made_once_and_bumped_to_something_new(face: Face) -> None:
    before = face.tier.now()
    [stamp] = face.stamp([NAME])
    assert face.stamp([NAME, OTHER])[0] == stamp
    assert abs(stamp - before) < 5_000_000
    assert face.fetch([], [NAME]).stamps == [stamp]
    seen = [stamp, *(face.bump([NAME])[0] for _ in range(100))]
    assert seen == sorted(set(seen))
    assert face.fetch(["k"], [OTHER, NAME]).stamps[1] == seen[-1]


def test_a_stamp_rises_also_when_the_clock_was_set_back(
    face: Face, server: client_library.Redis
) -> None:
    ahead = time.time_ns() // 1000 + 3_600_000_000
    server.set(f"~g:app:{NAME}", ahead)
    server.set("~g:app:{k}", ahead)
    assert face.bump([NAME]) == [ahead + 1]
    assert face.bump([NAME]) == [ahead + 2]
    face.delete(["k"])
    assert face.fetch(["k"], []).guards == [ahead + 1]


def test_numbers_add_up_in_64_bits(face: Face) -> None:
    assert face.incr("n", 5, None) == 5
    assert face.incr("n", -7, None) == -2
    assert face.incr("top", TOP, None) == TOP
    assert face.incr("top", -1, None) == TOP - 1
    assert face.incr("bottom", BOTTOM, None) == BOTTOM


@pytest.mark.parametrize(("start", "amount"), [(TOP, 1), (BOTTOM, -1), (0, TOP + 1)])
def test_a_sum_beyond_64_bits_is_refused_and_changes_nothing(
    face: Face, start: int, amount: int
) -> None:
    face.incr("n", start, None)
    with pytest.raises(LimitError):
        face.incr("n", amount, None)
    assert face.incr("n", 0, None) == start


def test_a_number_s_life_counts_from_its_first_increment(
    face: Face, server: client_library.Redis
) -> None:
    face.incr("n", 1, 100.0)
    server.pexpire("n", 50_000)
    face.incr("n", 1, 100.0)
    assert 49_000 < server.pttl("n") <= 50_000
    face.incr("forever", 1, None)
    face.incr("forever", 1, 100.0)
    assert server.pttl("forever") == -1


def test_a_foreign_value_in_the_place_of_a_number_is_damage(
    face: Face, server: client_library.Redis
) -> None:
    server.set("n", "seven")
    server.set("~g:app:{k}", "soon")
    server.rpush("list", "x")
    for call in (
        lambda: face.incr("n", 1, None),
        lambda: face.fetch(["k"], []),
        lambda: face.fetch(["k", "l"], []),
        lambda: face.inspect("list"),
    ):
        with pytest.raises(TierError) as caught:
            call()
        assert caught.value.kind == "damaged"
        assert "seven" not in str(caught.value)
    # The tier goes on.
    assert face.fetch(["fine"], []).data == [None]


def test_scan_finds_what_begins_like_that(face: Face) -> None:
    names = [f"app:f:1:{n}" for n in range(1500)]
    face.store([entry(name) for name in [*names, "app:g:1:0", "ap?:f", "app:f*", "app:f[1]"]])
    face.bump([NAME])
    face.delete(["app:gone"])
    batches = face.scan("app:f:")
    assert len(batches) > 1
    assert sorted({key for batch in batches for key in batch}) == sorted(names)
    assert face.scan("ap?:") == [["ap?:f"]]
    assert face.scan("app:f[") == [["app:f[1]"]]
    assert face.scan("app:f*") == [["app:f*"]]
    assert sum(map(len, face.scan(""))) >= 1504
    assert not [key for batch in face.scan("~") for key in batch]
    assert face.scan("none") == []


def test_scripts_are_loaded_again_when_the_server_has_lost_them(
    face: Face, server: client_library.Redis
) -> None:
    assert face.incr("n", 1, None) == 1
    face.store([entry("k"), entry("l")])
    server.script_flush()
    assert face.incr("n", 1, None) == 2
    server.script_flush()
    assert face.store([entry("k"), entry("l", guard=9)]) == [True, False]
    assert face.delete(["k"]) == [True]


def test_the_clock_is_the_server_s(face: Face, server: client_library.Redis) -> None:
    face.fetch(["k"], [])
    seconds, micros = server.time()
    assert abs(face.tier.now() - (seconds * 1_000_000 + micros)) < 50_000


def test_it_opens_ahead_and_after_it_was_closed(face: Face, server: client_library.Redis) -> None:
    server.script_flush()
    face.open()
    assert server.info("memory")["number_of_cached_scripts"] >= 6
    face.store([entry("k")])
    if face.runner is None:
        face.tier.close()
    else:
        face.run(face.tier.aclose())
    assert face.fetch(["k"], []).data == [b"data"]


def test_nothing_is_left_of_the_connections_when_it_is_closed(
    redis_url: str, server: client_library.Redis
) -> None:
    before = len(server.client_list())
    tier = RedisTier(redis_url)
    tier.fetch(["k"], [], Deadline.after(5))
    assert len(server.client_list()) == before + 1
    tier.close()
    deadline = time.monotonic() + 5
    while len(server.client_list()) > before:
        assert time.monotonic() < deadline


def test_a_deadline_that_is_over_asks_nobody(face: Face) -> None:
    face.seconds = -1.0
    for call in (
        lambda: face.fetch(["k"], []),
        lambda: face.incr("n", 1, None),
        lambda: face.scan("x"),
    ):
        with pytest.raises(TierTimeoutError) as caught:
            call()
        assert (caught.value.kind, caught.value.tier) == ("timeout", "redis")
    face.seconds = 5.0
    assert face.incr("n", 1, None) == 1
