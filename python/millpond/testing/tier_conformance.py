"""The checks that every tier passes: those of millpond, and one that you wrote.

    import pytest
    from millpond.testing.tier_conformance import TierConformance

    class TestMyTier(TierConformance):
        def make_tier(self) -> MyTier:
            return MyTier("my://localhost")

pytest then runs each check twice, through the plain methods and through those in an event loop. A
check makes its own tier, uses keys that nobody else has, and closes the tier again, so the store
behind may be one that is in use. It takes half a minute where every call is a round trip.

Without pytest, `failures(TestMyTier())` returns what did not hold.

The promises are those of `millpond.tiers.base`; what a tier need not have is checked where it has
it. Two of them cannot be seen from outside, and are
not checked here: what happens when the store is out, and how fast a deadline is kept then.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millpond.errors import LimitError, TierTimeoutError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Tier

from ._calls import WAYS, Calls, Way, entry, expect, same, soon
from ._tier_entries import EntryChecks
from ._tier_guards import GenerationChecks, GuardChecks
from ._tier_optional import LeaseChecks, ReplicatedChecks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["TierConformance", "failures"]

_MOST = (1 << 63) - 1
_LEAST = -(1 << 63)


class TierConformance(EntryChecks, GuardChecks, GenerationChecks, ReplicatedChecks, LeaseChecks):
    """Derive a class from it whose name begins with Test, and give it `make_tier`.

    Attributes:
        seconds: the deadline of each call, and how long a check waits for what has to come of
            itself. Generous: a check is not about speed.
        short: seconds that an entry lives whose end a check waits for.
    """

    seconds = 10.0
    short = 0.3

    def make_tier(self) -> Tier:
        """A tier that nobody else uses; called for each check, which closes it."""
        raise NotImplementedError("make_tier() has to return the tier that is to be checked")

    @contextmanager
    def calls(self, way: Way) -> Generator[Calls]:
        """A new tier, for a check."""
        calls = Calls(self.make_tier(), way, self.seconds)
        try:
            yield calls
        finally:
            calls.end()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """pytest asks here which arguments a check is run with."""
        if "way" in metafunc.fixturenames:
            metafunc.parametrize("way", WAYS)

    # ---- the tier itself

    def test_it_is_a_tier(self, way: Way) -> None:
        with self.calls(way) as tier:
            expect(_is_tier(tier.tier), "it has every method and attribute of Tier")
            expect(tier.tier.name, "it has a name")
            expect(tier.tier.shared in (True, False), "shared is True or False")
            expect(tier.tier.timeout > 0, "timeout is more than 0 seconds")
            expect(tier.tier.max_ttl > 0, "max_ttl is more than 0 seconds")
            there = abs(tier.tier.now() - time.time_ns() // 1000)
            expect(there < 3600 * 1_000_000, "now() is in microseconds since 1970")

    def test_it_may_be_opened_and_need_not_be(self, way: Way) -> None:
        with self.calls(way) as tier:
            same(tier.store(entry(tier.key(1))), [True], "calls may come without open")
            tier.tier.open(tier.deadline())
            tier.tier.open(tier.deadline())
            same(tier.store(entry(tier.key(2))), [True], "it may be opened more than once")

    def test_it_may_be_opened_again_after_it_was_closed(self, way: Way) -> None:
        with self.calls(way) as tier:
            tier.close()
            tier.close()
            for _ in range(2):
                tier.store(entry(tier.key()))
                tier.close()
            tier.tier.open(tier.deadline())
            same(tier.store(entry(tier.key())), [True], "it works again")

    def test_what_one_way_stores_the_other_finds(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            if way == "sync":
                tier.store(entry(key))
            else:
                tier.tier.store([entry(key)], tier.deadline())
            same(tier.data(key), b"data", "what the other way stored is there")
            same(tier.tier.fetch([key], [], tier.deadline()).data, [b"data"], "for both")

    def test_event_loops_may_come_and_go(self, way: Way) -> None:
        with self.calls(way) as tier:
            for number in range(3):
                same(tier.store(entry(tier.key(number))), [True], "a loop's first call works")
                tier.new_loop()
            keys = [tier.key(number) for number in range(3)]
            same(tier.fetch(keys).data, [b"data"] * 3, "a later loop finds what an earlier stored")

    def test_a_deadline_that_is_over_holds_nobody_up(self, way: Way) -> None:
        with self.calls(way) as tier:
            tier.store(entry(tier.key()))
            tier.seconds = 0.0
            for call in (
                lambda: tier.fetch([tier.key()]),
                lambda: tier.store(entry(tier.key())),
                lambda: tier.bump(tier.name()),
            ):
                begun = time.monotonic()
                try:
                    call()
                except TierTimeoutError as error:
                    same(error.kind, "timeout", "what comes too late is of the kind")
                expect(time.monotonic() - begun < 0.5, "a call ends soon after its deadline")
            tier.seconds = self.seconds
            same(tier.store(entry(tier.key(2))), [True], "afterwards it works as before")

    # ---- counters

    def test_a_counter_counts_from_nothing(self, way: Way) -> None:
        with self.calls(way) as tier:
            key, other = tier.key(1), tier.key(2)
            got = [tier.incr(key), tier.incr(key, 41), tier.incr(key, -50), tier.incr(key, 0)]
            same(got, [1, 42, -8, -8], "each incr returns the sum")
            same(tier.incr(other, 5), 5, "each key has its own")

    def test_a_counter_s_life_is_counted_from_its_first_incr(self, way: Way) -> None:
        with self.calls(way) as tier:
            key, lasting = tier.key(1), tier.key(2)
            begun = time.monotonic()
            tier.incr(lasting, 1)
            tier.incr(lasting, 1, self.short)
            tier.incr(key, 1, self.short)
            sums: list[int] = []

            def is_over() -> bool:
                # Were its life counted from the last incr, it would never end.
                sums.append(tier.incr(key, 1, self.short))
                return sums[-1] == 1

            soon(
                is_over,
                "a counter begins anew when its ttl is over, counted from its first incr",
                self.seconds,
            )
            expect(
                time.monotonic() - begun >= self.short * 0.9, "a counter lives for its whole ttl"
            )
            same(tier.incr(lasting), 3, "a counter without a ttl stays")

    def test_a_counter_holds_64_bits_and_no_more(self, way: Way) -> None:
        with self.calls(way) as tier:
            for most, step in ((_MOST, 1), (_LEAST, -1)):
                key = tier.key(step)
                same(tier.incr(key, most), most, "64 bits are held exactly")
                for beyond in (step, most):
                    try:
                        tier.incr(key, beyond)
                    except LimitError:
                        continue
                    raise AssertionError("a sum beyond 64 bits raises LimitError")
                same(tier.incr(key, -step), most - step, "the refused ones changed nothing")

    def test_no_count_is_lost_between_callers(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            if way == "async":
                tier.together([lambda: tier.tier.aincr(key, 1, None, Deadline.after(10))] * 100)
            else:
                _in_threads(8, lambda: [tier.incr(key) for _ in range(12)])
                tier.incr(key, 4)
            same(tier.incr(key, 0), 100, "callers at once count as one after the other do")

    def test_callers_at_once_get_stamps_of_their_own(self, way: Way) -> None:
        with self.calls(way) as tier:
            name = tier.name()
            stamps: list[int] = []
            if way == "async":
                for given in tier.together(
                    [lambda: tier.tier.abump([name], Deadline.after(10))] * 100
                ):
                    stamps += given
            else:
                _in_threads(8, lambda: stamps.extend(tier.bump(name)[0] for _ in range(12)))
            same(len(stamps), len(set(stamps)), "no two bumps give one stamp")
            same(tier.stamp(name), [max(stamps)], "the highest is what stays")


def failures(suite: TierConformance) -> dict[str, Exception]:
    """Run every check both ways, without pytest; what failed, and how.

    >>> from millpond.tiers.sqlite import SQLiteTier
    >>> import tempfile
    >>> class Checks(TierConformance):
    ...     def make_tier(self) -> Tier:
    ...         return SQLiteTier(tempfile.mkdtemp(), timeout=10)
    >>> failures(Checks())
    {}
    """
    failed: dict[str, Exception] = {}
    for name in dir(suite):
        if not name.startswith("test_"):
            continue
        check: Callable[[Way], None] = getattr(suite, name)
        for way in WAYS:
            try:
                check(way)
            except Exception as error:  # noqa: BLE001 (whatever it raises, it is no tier)
                failed[f"{name}[{way}]"] = error
    return failed


def _is_tier(given: object) -> bool:
    return isinstance(given, Tier)


def _in_threads(count: int, work: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 (raised again below)
            errors.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
