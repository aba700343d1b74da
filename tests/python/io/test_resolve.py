"""Names are looked up off the path, and a slow resolver costs no more than the deadline."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from millpond.io.deadline import Deadline
from millpond.io.resolve import Found, Resolver

ADDRESS: Found = [(2, ("10.0.0.1", 6379))]
OTHER: Found = [(2, ("10.0.0.2", 6379))]


class Lookup:
    """A resolver that answers when it is let."""

    def __init__(self) -> None:
        self.answer: Found | OSError = ADDRESS
        self.let = threading.Event()
        self.let.set()
        self.calls = 0
        self.done = threading.Semaphore(0)

    def __call__(self, host: str, port: int) -> Found:
        self.calls += 1
        self.let.wait(10)
        self.done.release()
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


def test_an_address_is_remembered_and_renewed_behind_the_caller() -> None:
    lookup, now = Lookup(), [0.0]
    resolver = Resolver(30, lookup, lambda: now[0])
    assert resolver.find("name", 6379, Deadline.after(5)) == ADDRESS
    assert resolver.find("name", 6379, Deadline.after(0)) == ADDRESS
    assert lookup.calls == 1
    now[0], lookup.answer = 31.0, OTHER
    lookup.let.clear()
    for _ in range(10):
        assert resolver.find("name", 6379, Deadline.after(0)) == ADDRESS
    lookup.let.set()
    end = time.monotonic() + 5
    while resolver.find("name", 6379, Deadline.after(0)) != OTHER:
        assert time.monotonic() < end
    assert lookup.calls == 2


def test_a_resolver_that_hangs_costs_the_deadline() -> None:
    lookup = Lookup()
    lookup.let.clear()
    resolver = Resolver(30, lookup)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        resolver.find("name", 6379, Deadline.after(0.02))
    with pytest.raises(TimeoutError):
        asyncio.run(resolver.afind("name", 6379, Deadline.after(0.02)))
    assert 0.04 <= time.monotonic() - start < 1
    lookup.let.set()
    assert asyncio.run(resolver.afind("name", 6379, Deadline.after(5))) == ADDRESS
    assert lookup.calls == 1


def test_a_name_that_does_not_exist_is_asked_for_again() -> None:
    lookup = Lookup()
    lookup.answer = OSError("no such name")
    resolver = Resolver(30, lookup)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            resolver.find("name", 6379, Deadline.after(5))
    assert lookup.calls == 2


def test_what_is_doubted_is_looked_up_again_and_used_meanwhile() -> None:
    lookup = Lookup()
    resolver = Resolver(30, lookup)
    resolver.find("name", 6379, Deadline.after(5))
    resolver.doubt("name", 6379)
    assert resolver.find("name", 6379, Deadline.after(0)) == ADDRESS
    assert lookup.done.acquire(timeout=5)
    assert lookup.done.acquire(timeout=5)


def test_numbers_need_no_resolver() -> None:
    lookup = Lookup()
    resolver = Resolver(30, lookup)
    assert resolver.find("127.0.0.1", 1, Deadline.after(0)) == [(2, ("127.0.0.1", 1))]
    assert resolver.find("::1", 1, Deadline.after(0))[0][1] == ("::1", 1)
    assert lookup.calls == 0
