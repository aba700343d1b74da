"""What a tier promises of what it need not have; a tier without it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond.tiers.base import Leases, Replicated

from ._calls import Calls, Way, entry, expect, same, soon

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class ReplicatedChecks:
    """Checks of `confirm`, where a tier has it."""

    if TYPE_CHECKING:
        calls: Callable[[Way], AbstractContextManager[Calls]]

    def test_a_stamp_that_is_confirmed_is_kept_or_given_again(self, way: Way) -> None:
        with self.calls(way) as tier:
            if not isinstance(tier.tier, Replicated):
                return
            lost, low, high = (tier.name() for _ in range(3))
            [before, later] = tier.bump(low, high)
            ahead = before + 3600 * 1_000_000
            replicas = tier.confirm(0, (lost, ahead), (low, ahead), (high, later - 1))
            expect(replicas >= 0, "confirm says how many replicas there are that have them")
            same(
                tier.fetch([], [lost, low, high]).stamps,
                [ahead, ahead, later],
                "a lost or lower stamp is the one that was confirmed now, a higher one stays",
            )
            expect(tier.bump(low)[0] > ahead, "a bump gives a higher stamp afterwards too")


class LeaseChecks:
    """Checks of `acquire`, `renew` and `release`, and of `store` under a lease."""

    if TYPE_CHECKING:
        calls: Callable[[Way], AbstractContextManager[Calls]]
        seconds: float
        short: float

    def test_a_lease_has_one_holder(self, way: Way) -> None:
        with self.calls(way) as tier:
            if not isinstance(tier.tier, Leases):
                return
            key, other = tier.key(1), tier.key(2)
            for fence in (1, 1):
                same(tier.acquire(key, fence)[:2], ("held", 1), "a free lease is the taker's")
            taken = tier.acquire(key, 2)
            same(taken[:2], ("taken", 1), "a second taker is told whose it is")
            expect(50 < taken.left <= 60, "and how long it stands")
            same(tier.acquire(other, 2).state, "held", "each key has its own")
            same(tier.renew(90.0, (key, 2), (key, 1)), [False, True], "its holder renews it")
            expect(tier.acquire(key, 2).left > 80, "a lease that is renewed stands longer")
            same(tier.release("failed", (key, 2), (key, 1)), [False, True], "and gives it back")
            same(tier.release("failed", (key, 1)), [False], "it ends once")
            same(tier.acquire(key, 3).state, "held", "then it may be taken")

    def test_a_lease_ends_unless_it_is_renewed(self, way: Way) -> None:
        with self.calls(way) as tier:
            if not isinstance(tier.tier, Leases):
                return
            key = tier.key()
            tier.acquire(key, 1, self.short)
            soon(lambda: tier.acquire(key, 2).state == "held", "a lease ends", self.seconds)
            same(tier.renew(60.0, (key, 1)), [False], "what has ended cannot be renewed")
            same(tier.store(entry(key)._replace(fence=1)), [False], "and its load is refused")

    def test_a_store_under_a_lease_needs_it_and_ends_it(self, way: Way) -> None:
        with self.calls(way) as tier:
            if not isinstance(tier.tier, Leases):
                return
            key = tier.key()
            tier.acquire(key, 1)
            same(tier.store(entry(key)._replace(fence=2)), [False], "another's store is refused")
            same(tier.store(entry(key, b"1")._replace(fence=1)), [True], "the holder's is not")
            same(tier.store(entry(key)._replace(fence=1)), [False], "it has ended the lease")
            same(tier.acquire(key, 2).state, "landed", "and who asks then is told of the entry")
            same(tier.acquire(key, 2, seen=b"1").state, "held", "unless it has seen that")
            tier.delete(key)
            same(tier.store(entry(key)._replace(fence=2)), [False], "an invalidation wins")
            same(tier.acquire(key, 3).state, "held", "which ends the lease too")
