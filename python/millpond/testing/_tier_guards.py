"""What a tier promises of guards and generations: an invalidation wins over what began before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._calls import Calls, Way, entry, expect, same, soon

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class GuardChecks:
    """Checks of `store` against `write`, `delete` and `erase`."""

    if TYPE_CHECKING:
        calls: Callable[[Way], AbstractContextManager[Calls]]
        seconds: float
        short: float

    def test_a_fill_leaves_the_guard_as_it_is(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            tier.store(entry(key))
            same(tier.guard(key), 0, "a fill does not raise the guard")
            tier.write(entry(key))
            guard = tier.guard(key)
            tier.store(entry(key, guard=guard))
            same(tier.guard(key), guard, "a fill does not change the guard")

    def test_a_write_replaces_and_raises_the_guard(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            tier.store(entry(key, b"old"))
            tier.write(entry(key, b"new", guard=12345))
            fetched = tier.fetch([key])
            same(fetched.data, [b"new"], "what is written is there, whatever guard is named")
            expect(fetched.guards[0] > 0, "a write raises the guard")

    def test_every_invalidation_gives_a_guard_that_never_was(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            guards = [tier.guard(key)]
            for _ in range(10):
                for invalidate in (
                    lambda: tier.write(entry(key)),
                    lambda: tier.delete(key),
                    lambda: tier.erase(key),
                ):
                    invalidate()
                    guards.append(tier.guard(key))
            same(guards, sorted(set(guards)), "each write, delete and erase raises the guard")

    def test_a_load_that_began_before_a_write_is_refused(self, way: Way) -> None:
        self._refused(
            way, "write", lambda tier, key: tier.write(entry(key, b"written")), b"written"
        )

    def test_a_load_that_began_before_a_delete_is_refused(self, way: Way) -> None:
        self._refused(way, "delete", lambda tier, key: tier.delete(key), None)

    def test_a_load_that_began_before_an_erase_is_refused(self, way: Way) -> None:
        self._refused(way, "erase", lambda tier, key: tier.erase(key), None)

    def _refused(
        self, way: Way, what: str, invalidate: Callable[[Calls, str], object], left: bytes | None
    ) -> None:
        with self.calls(way) as tier:
            for begun in ("without a guard", "under a guard"):
                key = tier.key(f"{what}:{begun[:5]}")
                if begun == "under a guard":
                    tier.write(entry(key, b"before"))
                guard = tier.guard(key)
                invalidate(tier, key)
                told = tier.store(entry(key, b"late", guard=guard))
                same(told, [False], f"a load that began {begun} before a {what} is refused")
                same(tier.data(key), left, f"a refused fill changes nothing after a {what}")
                now = tier.guard(key)
                told = tier.store(entry(key, b"new", guard=now))
                same(told, [True], f"a load that began after a {what} is taken")
                same(tier.data(key), b"new", "what was taken is there")

    def test_a_guard_that_was_never_given_is_refused(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            same(tier.store(entry(key, guard=1)), [False], "a guard where there is none is refused")
            same(tier.data(key), None, "a refused fill stores nothing")

    def test_each_entry_of_a_call_is_judged_alone(self, way: Way) -> None:
        with self.calls(way) as tier:
            one, two, three = tier.key(1), tier.key(2), tier.key(3)
            tier.delete(two)
            told = tier.store(entry(one), entry(two), entry(three))
            same(told, [True, False, True], "a refused entry does not touch the others")
            same(tier.fetch([one, two, three]).data, [b"data", None, b"data"], "only those")

    def test_a_guard_outlives_its_entry(self, way: Way) -> None:
        with self.calls(way) as tier:
            key = tier.key()
            guard = tier.guard(key)
            tier.write(entry(key, ttl=self.short))
            soon(
                lambda: tier.data(key) is None,
                "a written entry goes when its ttl is over",
                self.seconds,
            )
            expect(tier.guard(key) > 0, "the guard stays when the entry is over")
            told = tier.store(entry(key, b"late", guard=guard))
            same(told, [False], "a load from before the write is refused after the entry is over")

    def test_delete_says_whether_each_was_there(self, way: Way) -> None:
        with self.calls(way) as tier:
            one, two = tier.key(1), tier.key(2)
            tier.store(entry(one))
            same(tier.delete(two, one), [False, True], "delete tells of each key in its order")
            same(tier.fetch([one, two]).data, [None, None], "what was deleted is not there")
            same(tier.delete(one), [False], "what was deleted is not there to be deleted")
            expect(tier.guard(two) > 0, "delete raises the guard of what was not there")

    def test_erase_says_how_many_there_were(self, way: Way) -> None:
        with self.calls(way) as tier:
            one, two, three = tier.key(1), tier.key(2), tier.key(3)
            tier.store(entry(one), entry(two))
            same(tier.erase(one, two, three), 2, "erase counts what was there")
            same(tier.fetch([one, two]).data, [None, None], "what was erased is not there")
            same(tier.keys(tier.prefix), [], "scan lists nothing that was erased")
            same(tier.erase(one), 0, "what was erased is not there to be erased")


class GenerationChecks:
    """Checks of `stamp` and `bump`."""

    if TYPE_CHECKING:
        calls: Callable[[Way], AbstractContextManager[Calls]]
        seconds: float
        short: float

    def test_a_stamp_is_made_once(self, way: Way) -> None:
        with self.calls(way) as tier:
            name, other = tier.name(), tier.name()
            first = tier.stamp(name)
            expect(first[0] > 0, "a stamp is a number above 0")
            same(tier.stamp(name), first, "a stamp stays until it is bumped")
            same(tier.stamp(other, name)[1], first[0], "stamps come in the order of their names")
            same(tier.fetch([], [name]).stamps, first, "fetch reports the same stamp")

    def test_a_bump_gives_a_stamp_that_never_was(self, way: Way) -> None:
        with self.calls(way) as tier:
            name, other = tier.name(), tier.name()
            before = tier.stamp(name, other)
            stamps = [before[0]]
            for _ in range(50):
                stamps += tier.bump(name)
            same(stamps, sorted(set(stamps)), "every bump gives a higher stamp")
            same(tier.stamp(name, other), [stamps[-1], before[1]], "only the name itself changed")

    def test_a_bump_makes_a_stamp_where_there_is_none(self, way: Way) -> None:
        with self.calls(way) as tier:
            one, two = tier.name(), tier.name()
            stamps = tier.bump(one, two)
            same(tier.fetch([], [two, one]).stamps, stamps[::-1], "bumped names have stamps")

    def test_stamps_follow_the_clock(self, way: Way) -> None:
        with self.calls(way) as tier:
            before = tier.tier.now()
            stamp, bumped = tier.stamp(tier.name())[0], tier.bump(tier.name())[0]
            for given in (stamp, bumped):
                # Two seconds for what is known here of another machine's clock.
                expect(given >= before - 2_000_000, "a stamp is not below the tier's clock")
                expect(given < before + 60_000_000, "a stamp is near the tier's clock")

    def test_names_and_keys_are_apart(self, way: Way) -> None:
        with self.calls(way) as tier:
            text = tier.name()
            tier.store(entry(text))
            same(tier.fetch([], [text]).stamps, [None], "an entry gives no name a stamp")
            tier.bump(text)
            same(tier.fetch([text]).data, [b"data"], "a bump leaves the entry of such a key")
            same(tier.guard(text), 0, "a bump leaves the guard of such a key")
