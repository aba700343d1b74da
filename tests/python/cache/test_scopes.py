"""`cache_control`, `observe` and `disabled`, in blocks, tasks and threads."""

from __future__ import annotations

import asyncio
import contextvars
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

import millpond as mp
from millpond._engine import ManualClock
from millpond.errors import ConfigurationError
from tests.python.cache.faces import ASYNC, SYNC, Counted

both = pytest.mark.parametrize("kind", [SYNC, ASYNC])


@both
@pytest.mark.parametrize("flag", ["no_cache", "refresh"])
def test_no_cache_and_refresh_load_anew_and_replace(kind: str, flag: str) -> None:
    versions: list[int] = []

    def body(x: Any, y: Any) -> int:
        versions.append(1)
        return len(versions)

    f = Counted(kind, body=body)
    assert f(1) == 1
    with mp.cache_control(**{flag: True}):
        assert f(1) == 2
    assert f(1) == 2
    assert f.cached.cache_info().miss_reasons["bypass"] == 1
    assert f.cached.cache_info().currsize == 1


@both
def test_no_store_stores_nothing_and_takes_what_is_there(kind: str) -> None:
    f = Counted(kind)
    with mp.cache_control(no_store=True):
        f(1), f(1)
    assert f.calls == 2
    f(2)
    with mp.cache_control(no_store=True):
        f(2)
    with mp.cache_control(no_store=True, no_cache=True):
        f(2)
    assert (f.calls, f.cached.cache_info().currsize) == (4, 1)


@both
def test_ttl_and_max_age_hold_for_the_block(kind: str) -> None:
    clock = ManualClock()
    f = Counted(kind, cache=mp.Cache(clock=clock), ttl=100)
    with mp.cache_control(ttl="5s"):
        f(1)
    f(2)
    clock.advance(6)
    f(1), f(2)
    assert f.calls == 3
    with mp.cache_control(max_age=7):
        f(2)
    assert f.calls == 3
    with mp.cache_control(max_age=5):
        f(2)
        f(2)
    assert f.calls == 4
    assert f.cached.cache_info().miss_reasons["stale"] == 1
    with mp.cache_control(max_age=0):
        f(2)
    assert f.calls == 5


def test_scopes_nest_and_the_inner_one_adds_to_the_outer() -> None:
    f = Counted(SYNC)
    with mp.cache_control(no_store=True):
        with mp.cache_control(no_cache=True):
            f(1)
        f(1)
        with mp.disabled(), mp.observe() as calls:
            f(1)
    f(1), f(1)
    assert f.calls == 4
    assert [(call.hit, call.reason) for call in calls] == [(False, "disabled")]
    with pytest.raises(ConfigurationError, match="max_age"):
        mp.cache_control(max_age=-1)


@both
def test_observers_see_each_call_with_its_key_and_age(kind: str) -> None:
    clock = ManualClock()
    f = Counted(kind, cache=mp.Cache(clock=clock), ttl=10)
    with mp.observe() as outer:
        f(1)
        clock.advance(4)
        with mp.observe() as inner:
            f(1)
        clock.advance(7)
        f(1)
    assert [(c.hit, c.reason, c.tier) for c in outer] == [
        (False, "cold_or_evicted", None),
        (True, None, "memory"),
        (False, "expired", None),
    ]
    assert [c.hit for c in inner] == [True]
    assert outer[1].age == pytest.approx(4, abs=0.3)
    assert outer[0].function is f.cached
    assert outer[0].key == outer[1].key == f.cached.cache_key(1)
    assert "hit in memory" in repr(outer[1])
    assert "cold_or_evicted" in repr(outer[0])
    f(1)
    assert len(outer) == 3


@both
def test_disabled_calls_the_plain_function(kind: str) -> None:
    f = Counted(kind)
    f(1)
    with mp.disabled():
        f(1), f(2)
    assert f.calls == 3
    assert f.cached.cache_contains(2) is False
    assert f.cached.cache_info().miss_reasons["disabled"] == 2


def test_a_scope_closes_when_the_block_raises() -> None:
    f = Counted(SYNC)
    with pytest.raises(KeyError), mp.disabled():
        raise KeyError
    f(1), f(1)
    assert f.calls == 1


def test_a_scope_holds_in_the_tasks_it_starts_and_in_no_other() -> None:
    f = Counted(ASYNC)

    async def main() -> None:
        entered = asyncio.Event()
        leave = asyncio.Event()

        async def off() -> None:
            with mp.disabled():
                entered.set()
                await asyncio.gather(f.cached(1), asyncio.create_task(f.cached(1)))
                await leave.wait()
                await f.cached(1)

        task = asyncio.create_task(off())
        await entered.wait()
        await asyncio.sleep(0)
        await f.cached(1)
        await f.cached(1)
        leave.set()
        await task

    asyncio.run(main())
    assert f.calls == 4
    assert f.cached.cache_info().miss_reasons["disabled"] == 3


def test_a_scope_holds_in_its_own_thread_only_unless_the_context_is_passed_on() -> None:
    f = Counted(SYNC)
    f(1)

    def in_thread(target: Any) -> None:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()

    with mp.disabled():
        in_thread(lambda: contextvars.Context().run(f, 1))
        assert f.calls == 1
        context = contextvars.copy_context()
        in_thread(lambda: context.run(f, 1))
        assert f.calls == 2


@pytest.mark.parametrize(("value", "calls"), [("1", 2), ("true", 2), ("0", 1), ("", 1)])
def test_the_environment_disables_the_whole_process(value: str, calls: int) -> None:
    script = (
        "import millpond as mp, threading\n"
        "made = []\n"
        "f = mp.with_cache(made.append)\n"
        "f(1)\n"
        "t = threading.Thread(target=lambda: f(1)); t.start(); t.join()\n"
        "print(len(made))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MILLPOND_DISABLED": value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(calls), "")


def test_an_environment_that_says_neither_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import millpond"],
        env={**os.environ, "MILLPOND_DISABLED": "maybe"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "MILLPOND_DISABLED='maybe'" in done.stderr
