"""The Engine without servers: options, names, what a user sees when something is wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import millpond as mp
from millpond import Engine
from millpond.cache import registry
from millpond.errors import ConfigurationError, OptionTypeError, TierError
from millpond.io import environment
from millpond.io.deadline import Deadline
from millpond.testing import ManualClock
from millpond.tiers.base import Held
from tests.python.cache.faces import ASYNC, SYNC
from tests.python.tiers.memory_tier import MemoryTier


@dataclasses.dataclass
class User:
    name: str
    age: int


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def load_user(name: str) -> User:
    return User(name, len(name))


def test_a_dataclass_comes_back_from_the_file_as_itself(folder: str) -> None:
    with Engine(data_dir=folder) as mill:
        first = mill.with_cache(load_user)
        assert first("ada") == User("ada", 3)
    with Engine(data_dir=folder) as mill:
        again = mill.with_cache(load_user)
        assert again("ada") == User("ada", 3)
        assert again.cache_info().hits_by_tier == {"memory": 0, "sqlite": 1}


def test_an_encrypted_file_tells_nothing_without_the_key(folder: str) -> None:
    with Engine(data_dir=folder, encryption_keys=[bytes(32)]) as mill:
        mill.with_cache(load_user)("ada the secretive")
    assert not any(
        b"secretive" in path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    )
    with Engine(data_dir=folder) as mill:
        again = mill.with_cache(load_user)
        assert again("ada the secretive").age == 17
        assert again.cache_info().loads == 1


def test_names_that_other_programs_may_have_are_refused(folder: str) -> None:
    with Engine(data_dir=folder) as mill:
        with pytest.raises(ConfigurationError, match=r"is a lambda.*namespace="):
            mill.with_cache(lambda x: x)

        def inner(x: int) -> int:
            return x

        with pytest.raises(ConfigurationError, match="made inside a function"):
            mill.with_cache(inner)
        with Engine(data_dir=folder, namespace="mine") as named:
            with pytest.raises(ConfigurationError, match="made inside a function"):
                named.with_cache(inner)
            inner.__module__ = "__main__"
            inner.__qualname__ = "inner"
            with pytest.raises(ConfigurationError, match=r"in __main__.*Engine\(namespace="):
                mill.with_cache(inner)
            assert named.with_cache(inner)(1) == 1
        assert mill.with_cache(namespace="mine")(inner)(1) == 1
        assert mill.with_cache(tiers=("memory",))(inner)(1) == 1


SERVICE = """
class Service:
    @mill.with_cache
    def load(self, x: int) -> int:
        return x
"""


def test_methods_per_instance_are_refused(folder: str) -> None:
    with Engine(data_dir=folder) as mill:
        # Before 3.12 what __set_name__ raises comes as the cause of a RuntimeError.
        with pytest.raises((ConfigurationError, RuntimeError)) as caught:
            exec(SERVICE, {"mill": mill, "__name__": __name__})
        assert "shared=True" in f"{caught.value} {caught.value.__cause__}"


def test_wrong_options_say_what_is_allowed(folder: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://"):
        Engine(database="mysql://localhost/x")
    with pytest.raises(OptionTypeError, match="URL or a millpond Tier"):
        Engine(redis=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="this Engine has memory, sqlite"):
        Engine(data_dir=folder).with_cache(tiers=("memory", "redis"))(load_user)
    with pytest.raises(ConfigurationError, match='add "memory"'):
        Engine(data_dir=folder).with_cache(tiers=("sqlite",))(load_user)
    with pytest.raises(OptionTypeError, match="exactly one of"):
        Engine(data_dir=folder).invalidate()
    with pytest.raises(OptionTypeError, match="no such option"):
        Engine(data_dir=folder).with_cache(life=3)  # type: ignore[call-overload]


def test_nothing_is_opened_before_it_is_needed(folder: str) -> None:
    mill = Engine(data_dir=folder)
    function = mill.with_cache(load_user)
    assert not Path(folder).exists()
    function("ada")
    assert Path(folder).exists()
    mill.close()


def test_functions_decorated_before_are_given_tiers(
    folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "default", registry.Registry(mp.default_cache))
    before = mp.with_cache(load_user)
    anonymous: Any = mp.with_cache(lambda x: x)
    mill = mp.configure(data_dir=folder)
    try:
        after = mp.with_cache(version=2)(load_user)
        assert (before("ada"), after("ada")) == (User("ada", 3), User("ada", 3))
        assert anonymous(1) == 1
        assert "stays in memory" in caplog.text
        operations = mill.stats()["sqlite"]["operations"]
        assert operations["store"]["calls"] == 2
    finally:
        mill.close()


def test_a_cache_by_name_is_a_mapping_in_the_file(folder: str) -> None:
    with Engine(data_dir=folder) as mill:
        users = mill.cache("users", ttl="10m")
        users.set("ada", {"age": 36}, tags="people")
        users.set("joe", {"age": 6}, tags="people")
        users.set_many({"bob": {"age": 1}, "eve": None})
        assert users.get("nobody", "no") == "no"
        assert mill.cache("users") is users
        assert users.incr("visits", 2, ttl=60) == 2
        assert users.incr("visits") == 3
        assert users.decr("visits", 3) == 0
    with Engine(data_dir=folder) as mill:
        users = mill.cache("users")
        assert users.get_many(["ada", "joe", "bob", "eve", "nobody"]) == {
            "ada": {"age": 36},
            "joe": {"age": 6},
            "bob": {"age": 1},
            "eve": None,
        }
        assert users.stats().hits_by_tier == {"memory": 0, "sqlite": 4}
        assert mill.invalidate(tags="people").done
        assert users.get_many(["ada", "joe"]) == {}
        assert users.delete("bob").found
        assert users.get("bob") is None
        assert users.get_or_load("bob", lambda key: key.upper()) == "BOB"
        assert users.get_or_load_many(["bob", "x"], lambda keys: {"x": 1}) == {"bob": "BOB", "x": 1}
        users.clear()
        assert users.get_many(["eve", "bob", "x"]) == {}
        assert users.incr("visits", 5) == 5


def test_what_is_stored_can_be_looked_at_and_erased(folder: str) -> None:
    with Engine(data_dir=folder) as mill:

        @mill.with_cache(namespace="shop", tags=("owner:{name}",), cost=0.5)
        def load(name: str) -> str:
            return "the life of " + name

        load("ada")
        load("bob")
        names = sorted(mill.cache.scan("shop:"))
        assert len(names) == 2
        assert all(name.startswith("shop:tests.python.test_engine.") for name in names)
        memory, stored = mill.cache.inspect(names[0])
        assert (memory.tier, stored.tier, stored.codec) == ("memory", "sqlite", "tagged")
        assert memory.ttl is not None
        assert 299 < memory.ttl <= 300
        assert stored.ttl is not None
        assert 86_000 < stored.ttl <= 86_400
        assert (stored.cost, stored.state, len(stored.stamps)) == (0.5, "live", 3)
        assert mill.cache.inspect("shop:nothing") == []
        mill.invalidate(namespace="shop")
        assert [view.state for view in mill.cache.inspect(names[0])] == ["stale"]
        load("ada")
        load("bob")
        assert mill.erase(owner="ada") == {"memory": 1, "sqlite": 1}
        assert len(list(mill.cache.scan("shop:"))) == 1
        assert load.cache_info().currsize == 1
        with pytest.raises(OptionTypeError, match="exactly one"):
            mill.erase()


@pytest.mark.parametrize("key", [b"shop", 5, None])
def test_what_is_no_key_of_a_tier_is_an_error(folder: str, key: Any) -> None:
    with Engine(data_dir=folder) as mill:
        for look in (mill.cache.inspect, mill.cache.scan):
            with pytest.raises(OptionTypeError, match="a str"):
                look(key)


def test_a_cache_by_name_is_made_once(folder: str) -> None:
    with Engine(data_dir=folder, namespace="shop") as mill:
        users = mill.cache("users", ttl="10m", max_entries=5)
        assert mill.cache("users") is users
        assert mill.cache("users", ttl="10m", max_entries=5) is users
        with pytest.raises(ConfigurationError, match=r"ttl, lock.*made with others"):
            mill.cache("users", ttl=60, max_entries=5, lock=False)
        # Another version has other entries.
        users.set(1, "old")
        later = mill.cache("users", version=2)
        assert later.get(1) is None
        assert mill.cache("users", version="2") is later


def clean(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name in list(os.environ):
        if name.startswith(("MILLPOND_", "REDIS_", "UPSTASH_", "DATABASE_", "ENABLE_")):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({}, "memory, sqlite"),
        ({"REDIS_URL": "redis://h"}, "memory, redis, sqlite"),
        ({"REDIS_HOST": "h", "REDIS_PASSWORD": "x"}, "memory, redis, sqlite"),
        ({"REDIS_CLUSTER_NODES": "a:1,b:2"}, "memory, redis, sqlite"),
        ({"REDIS_URL": "redis://h", "ENABLE_REDIS_CACHING": "false"}, "memory, sqlite"),
        ({"DATABASE_URL": "postgresql+asyncpg://h/db"}, "memory, postgresql"),
        ({"DATABASE_URL": "mysql://h/db"}, "memory, sqlite"),
        ({"MILLPOND_DATABASE": "false"}, "memory"),
        ({"MILLPOND_DATABASE": "Off", "DATABASE_URL": "postgresql://h/db"}, "memory"),
        ({"MILLPOND_DATABASE": "true"}, "memory, sqlite"),
        # Kubernetes, beside a service that is called "redis".
        ({"REDIS_PORT": "tcp://10.0.0.11:6379"}, "memory, sqlite"),
        ({"REDIS_PORT": "tcp://10.0.0.11:6379", "REDIS_HOST": "h"}, "memory, redis, sqlite"),
        # Variables that a template leaves empty.
        ({"REDIS_URL": "", "MILLPOND_REDIS": "", "MILLPOND_DATABASE": ""}, "memory, sqlite"),
        ({"REDIS_URL": "", "REDIS_HOST": "h", "REDIS_PORT": ""}, "memory, redis, sqlite"),
        (
            {"MILLPOND_REDIS": "redis://own", "REDIS_URL": "mysql://not-read"},
            "memory, redis, sqlite",
        ),
    ],
)
def test_the_environment_chooses_the_tiers(
    monkeypatch: pytest.MonkeyPatch, folder: str, variables: dict[str, str], shown: str
) -> None:
    clean(monkeypatch, MILLPOND_DATA_DIR=folder, MILLPOND_NAMESPACE="shop", **variables)
    assert repr(Engine.from_env()) == f"<Engine shop: {shown}>"
    assert repr(Engine.from_env(namespace="given", redis=None, database=False)) == (
        "<Engine given: memory>"
    )


def test_a_wrong_variable_is_named_and_a_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clean(monkeypatch, REDIS_HOST="h", REDIS_PORT="secret-port")
    with pytest.raises(ConfigurationError, match="REDIS_PORT") as caught:
        Engine.from_env()
    assert "secret-port" not in str(caught.value)
    clean(monkeypatch, MILLPOND_COMPRESS="hunter2")
    with pytest.raises(ConfigurationError, match="MILLPOND_COMPRESS") as caught:
        Engine.from_env()
    assert "hunter2" not in str(caught.value)
    clean(monkeypatch, REDIS_PASSWORD="hunter2")
    with pytest.raises(ConfigurationError, match="REDIS_HOST") as caught:
        Engine.from_env()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("mark", [",", ", ", '","'])
def test_keys_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, folder: str, mark: str
) -> None:
    keys = [base64.b64encode(bytes([number]) * 16).decode() for number in (1, 2)]
    both = mark.join(keys)
    clean(monkeypatch, MILLPOND_ENCRYPTION_KEYS=f'["{both}"]' if '"' in mark else both)
    assert environment.read().options["encryption_keys"] == keys
    with Engine(data_dir=folder, namespace="shop", encryption_keys=keys[1:]) as old:
        assert old.with_cache(key=lambda: "k", namespace="shop")(lambda: 1)() == 1
    with Engine.from_env(data_dir=folder, namespace="shop") as new:
        assert new.with_cache(key=lambda: "k", namespace="shop")(lambda: 2)() == 1


@pytest.mark.parametrize(
    ("query", "pooled"),
    [("", False), ("?pgbouncer=true", True), ("?pgbouncer=false&connect_timeout=3", False)],
)
def test_a_url_may_say_that_a_pooler_is_between(query: str, pooled: bool) -> None:
    mill = Engine(database=f"postgresql://h/db{query}")
    tier: Any = mill.tier("postgresql")
    assert tier.pgbouncer == pooled
    with pytest.raises(ConfigurationError, match="true and false"):
        Engine(database="postgresql://h/db?pgbouncer=maybe")


class Broken(MemoryTier):
    """A tier that cannot say what it has, and not be closed."""

    name = "broken"
    closed = 0

    def inspect(self, key: str, deadline: Deadline) -> Held | None:
        raise TierError("it is gone", tier=self.name, kind="timeout")

    def close(self) -> None:
        self.closed += 1
        raise OSError("it is gone")

    async def aclose(self) -> None:
        self.close()


def test_a_look_inside_shows_which_tier_is_out(folder: str) -> None:
    mill = Engine(redis=Broken(), data_dir=folder)
    load = mill.with_cache(namespace="shop", key=lambda x: x)(lambda x: x)
    load(1)
    [key] = set(mill.cache.scan("shop:"))
    shown = [(view.tier, view.state) for view in mill.cache.inspect(key)]
    assert shown == [("memory", "live"), ("broken", "out: timeout"), ("sqlite", "live")]
    with pytest.raises(OSError, match="it is gone"):
        mill.close()


@pytest.mark.parametrize("kind", [SYNC, ASYNC])
def test_tiers_are_closed_also_where_one_cannot_be(kind: str) -> None:
    first, second = Broken(), Broken()
    mill = Engine(redis=first, database=second)
    with pytest.raises(OSError, match="it is gone"):
        mill.close() if kind == SYNC else asyncio.run(mill.aclose())
    assert (first.closed, second.closed) == (1, 1)


def test_memory_serves_what_is_past_its_life_when_tiers_and_function_fail(folder: str) -> None:
    clock = ManualClock()
    calls: list[int] = []
    with Engine(data_dir=folder, cache=mp.Cache(clock=clock)) as mill:

        @mill.with_cache(namespace="shop", ttl=0.05, stale_if_error=600)
        def load(x: int) -> int:
            calls.append(x)
            if len(calls) > 1:
                raise LookupError(x)
            return x

        assert load(1) == 1
        [key] = mill.cache.scan("shop:")
        file = Path(folder) / "millpond.sqlite3"
        with contextlib.closing(sqlite3.connect(file)) as other, other:
            other.execute("DELETE FROM records")  # As its bound may at any time.
        assert [view.tier for view in mill.cache.inspect(key)] == ["memory"]
        clock.advance(1)
        assert load(1) == 1
        assert calls == [1, 1]
        assert load.cache_info().stale_hits == 1
        mill.invalidate(function=load)
        with pytest.raises(LookupError):
            load(1)
