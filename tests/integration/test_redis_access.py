"""The ways to a Redis: unix socket, TLS, and a user with the least rights that suffice."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.io.redis_url import RedisSettings
from millpond.tiers.base import Entry
from millpond.tiers.redis import RedisTier
from tests.integration.faces import Face, RedisFaces
from tests.integration.servers import RedisServer, certificates, wait_until

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "redis.md"
NAME = "0123456789abcdef" * 2


def walk(face: Face) -> None:
    """Call every method once, with a result that shows that it did its work."""
    face.open()
    [guard] = face.fetch(["app:f:1:a"], []).guards
    assert face.store([Entry("app:f:1:a", b"a", 60.0, guard)]) == [True]
    face.write([Entry("app:f:1:b", b"b", 60.0)])
    assert face.fetch(["app:f:1:a"], []).data == [b"a"]
    assert face.fetch(["app:f:1:a", "app:f:1:b"], [NAME]).data == [b"a", b"b"]
    assert face.inspect("app:f:1:a").data == b"a"
    assert sorted(face.scan("app:f:")[0]) == ["app:f:1:a", "app:f:1:b"]
    [stamp] = face.stamp([NAME])
    assert face.bump([NAME])[0] > stamp
    assert face.incr("app:n", 2, 60.0) == 2
    assert face.acquire("app:f:1:a", 1, 60.0, b"").state == "landed"
    assert face.acquire("app:f:1:a", 1, 60.0, b"a").state == "held"
    assert face.acquire("app:f:1:a", 2, 60.0, b"a").fence == 1
    assert face.renew([("app:f:1:a", 1), ("app:f:1:a", 2)], 60.0) == [True, False]
    assert face.release([("app:f:1:a", 1)], "failed") == [True]
    assert face.acquire("app:f:1:a", 3, 60.0, b"a").state == "held"
    assert face.store([Entry("app:f:1:a", b"c", 60.0, guard, 3)]) == [True]
    assert face.delete(["app:f:1:a"]) == [True]
    assert face.erase(["app:f:1:b", "app:n"]) == 2


class Heard:
    """A listener that knows whether it was told that it hears everything."""

    def __init__(self) -> None:
        self.states: list[bool] = []
        self.names: list[str] = []
        self.losses = 0

    def changed(self, names: Sequence[str], keys: Sequence[str]) -> None:
        self.names += names

    def everything(self) -> None:
        self.losses += 1

    def alive(self, seconds: float) -> None:
        pass

    def up(self, yes: bool) -> None:
        self.states.append(yes)


def hear(tier: RedisTier, seconds: float) -> bool:
    """Whether an invalidation by another is heard."""
    heard = Heard()
    tier.watch(heard, 5.0)
    other = RedisTier(tier.settings, namespace="app")
    end = time.monotonic() + seconds
    while NAME not in heard.names and time.monotonic() < end:
        other.bump([NAME], Deadline.after(5))
        time.sleep(0.02)
    other.close()
    tier.unwatch()
    return NAME in heard.names


def caught_up(tier: RedisTier, server: RedisServer) -> bool:
    """Whether it knows, after its feed was cut, that nothing was missed."""
    heard = Heard()
    tier.watch(heard, 5.0)
    with server.client(username="admin", password="a") as client:
        wait_until(lambda: heard.states == [True], "it hears")
        client.client_kill_filter(user="app")
        wait_until(lambda: heard.states == [True, False, True], "it hears again")
    tier.unwatch()
    return heard.losses == 0


class Told:
    """Who waits for leases, and what it was told."""

    def __init__(self) -> None:
        self.ups: list[bool] = []
        self.ends: list[tuple[str, int, str]] = []

    def over(self, key: str, fence: int, outcome: str) -> None:
        self.ends.append((key, fence, outcome))

    def up(self, yes: bool) -> None:
        self.ups.append(yes)


def told(tier: RedisTier, seconds: float) -> bool:
    """Whether the end of a lease that another had is told."""
    waits = Told()
    tier.tell(waits)
    tier.watch(Heard(), 5.0)
    other = RedisTier(tier.settings, namespace="app")
    end = time.monotonic() + seconds
    fence = 0
    while not waits.ends and time.monotonic() < end:
        fence += 2
        other.acquire("app:f:1:t", fence, 60.0, b"", Deadline.after(5))
        assert tier.acquire("app:f:1:t", 1, 60.0, b"", Deadline.after(5)).fence == fence
        assert other.release([("app:f:1:t", fence)], "none", Deadline.after(5)) == [True]
        time.sleep(0.02)
    other.close()
    tier.unwatch()
    assert waits.ups[-1:] != [True]  # Nothing is told any more.
    assert all(end[0] == "app:f:1:t" and end[2] == "none" for end in waits.ends)
    return bool(waits.ends)


def kind(call: Callable[[], Any]) -> str:
    with pytest.raises(TierError) as caught:
        call()
    return caught.value.kind


def test_a_unix_socket(redis_faces: RedisFaces) -> None:
    with RedisServer(unix=True) as server:
        walk(redis_faces(server.url))
        face = redis_faces(f"{server.url}?db=1")
        assert face.store([Entry("app:f:1:a", b"one", 60.0)]) == [True]
        assert redis_faces(server.url).fetch(["app:f:1:a"], []).data == [None]
        server.stop()
        assert kind(lambda: face.fetch(["app:f:1:a"], [])) == "unavailable"


def test_tls_with_an_authority_of_our_own(redis_faces: RedisFaces) -> None:
    with RedisServer(tls=True) as server:
        walk(redis_faces(f"{server.url}?ca={certificates().ca}"))
        walk(redis_faces(f"rediss://localhost:{server.port}?ssl_ca_certs={certificates().ca}"))
        big = redis_faces(f"{server.url}?verify=no")
        data = bytes(range(256)) * 8000
        big.store([Entry("app:f:1:big", data, 60.0)])
        assert big.fetch(["app:f:1:big"], []).data == [data]


def test_tls_that_does_not_verify_is_refused(redis_faces: RedisFaces) -> None:
    with RedisServer(tls=True) as server:
        for query in ("", f"?ca={certificates().stranger}"):
            face = redis_faces(server.url + query)
            assert kind(lambda face=face: face.fetch(["k"], [])) == "configuration"  # type: ignore[misc]
        plain = redis_faces(f"redis://127.0.0.1:{server.port}")
        assert kind(lambda: plain.fetch(["k"], [])) in ("unavailable", "damaged")
        by_name = RedisSettings(host="127.0.0.2", port=server.port, tls=True)
        assert kind(lambda: redis_faces(by_name).fetch(["k"], [])) in (
            "unavailable",
            "configuration",
        )
    with RedisServer() as server:
        face = redis_faces(server.url.replace("redis://", "rediss://"))
        face.seconds = 0.2
        assert kind(lambda: face.fetch(["k"], [])) in ("unavailable", "timeout")


def test_tls_where_both_show_a_certificate(redis_faces: RedisFaces) -> None:
    files = certificates()
    with RedisServer(tls="mutual") as server:
        settings = {"host": "localhost", "port": server.port, "tls": True, "ca": str(files.ca)}
        cert, key = str(files.client), str(files.client_key)
        walk(redis_faces(RedisSettings(**settings, cert=cert, key=key)))  # type: ignore[arg-type]
        without = redis_faces(RedisSettings(**settings))  # type: ignore[arg-type]
        assert kind(lambda: without.fetch(["k"], [])) == "unavailable"


# ---- the least rights


def rules() -> str:
    """The line of an ACL file that the guide shows."""
    [line] = re.findall(r"```text\n(user app .*)\n```", GUIDE.read_text())
    return str(line)


def commands() -> list[str]:
    return re.findall(r"\+(\S+)", rules())


def served(line: str) -> RedisServer:
    return RedisServer(acl=("user default off", line, "user admin on >a ~* &* +@all"))


def as_app(server: RedisServer) -> str:
    return server.url.replace("redis://", "redis://app:s3cret@")


def test_the_guide_s_rules_suffice(redis_faces: RedisFaces) -> None:
    with served(rules()) as server:
        walk(redis_faces(as_app(server)))
        with server.client(username="app", password="s3cret") as client:
            client.script_load("return 1")  # the user is who it should be
        face = redis_faces(as_app(server))
        assert hear(face.tier, 10)
        assert told(face.tier, 10)
        assert caught_up(face.tier, server)
    with served(f"{rules()} +select +client|setname +client|list") as server:
        walk(redis_faces(f"{as_app(server)}/1?client_name=mine"))


def test_to_ask_for_replicas_needs_one_right_more(redis_faces: RedisFaces) -> None:
    for line, sufficient in ((rules(), False), (f"{rules()} +wait", True)):
        with served(line) as server:
            face = redis_faces(as_app(server))
            [stamp] = face.bump([NAME])
            if sufficient:
                assert face.confirm([(NAME, stamp)], 0) == 0
            else:
                assert kind(lambda face=face, at=stamp: face.confirm([(NAME, at)], 0)) == (  # type: ignore[misc] # mypy knows no defaults of lambdas
                    "configuration"
                )


# A PING that is refused is an answer too; the right to it keeps the server's ACL LOG clean.
@pytest.mark.parametrize("command", [one for one in commands() if one != "ping"])
def test_none_of_the_guide_s_rules_is_too_much(command: str) -> None:
    with served(f"{rules()} -{command}") as server:
        tier = RedisTier(as_app(server), namespace="app")
        face = Face(tier, None)
        if command == "time":
            assert face.fetch(["app:f:1:a"], []).data == [None]
            assert abs(tier.now() - time.time_ns() // 1000) < 1_000_000
        if command == "client|tracking":
            walk(face)
            assert not hear(tier, 0.3)
        elif command in ("xrange", "xrevrange", "info"):  # What was missed is not known then.
            walk(face)
            assert hear(tier, 10)
            assert not caught_up(tier, server)
        elif command in ("publish", "subscribe"):
            walk(face)
            assert hear(tier, 10)
            assert not told(tier, 0.3)
        else:
            assert kind(lambda: walk(face)) == "configuration"
        tier.close()


def test_without_its_channels_nothing_but_the_notices_is_lost() -> None:
    with served(rules().replace(" &~w:app:* ", " ")) as server:
        tier = RedisTier(as_app(server), namespace="app")
        walk(Face(tier, None))
        assert hear(tier, 10)
        assert not told(tier, 0.3)
        tier.close()


@pytest.mark.parametrize("pattern", ["~app:*", "~~g:app:*", "~~l:app:*", "~~h:app"])
def test_neither_is_one_of_its_patterns(pattern: str) -> None:
    with served(rules().replace(f" {pattern} ", " ")) as server:
        tier = RedisTier(as_app(server), namespace="app")
        assert kind(lambda: walk(Face(tier, None))) == "configuration"
        tier.close()
