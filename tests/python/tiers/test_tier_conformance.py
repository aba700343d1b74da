"""The conformance suite passes a tier that keeps its promises and catches each way to break one."""

from __future__ import annotations

import asyncio
import fnmatch
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from millpond.errors import TierError
from millpond.testing import tier_conformance
from millpond.testing.tier_conformance import TierConformance, failures
from millpond.tiers.base import Fetched, Held, Lease, Leases, Replicated
from tests.python.tiers.memory_tier import MICROS, MemoryTier, mutant

if TYPE_CHECKING:
    from millpond.tiers.base import Entry, Tier

Self = Any


class TestMemoryTier(TierConformance):
    """Also through pytest, as users run it."""

    def make_tier(self) -> Tier:
        return MemoryTier()


def suite_of(tier: type[MemoryTier]) -> TierConformance:
    class Suite(TierConformance):
        seconds = 0.5
        short = 0.1

        def make_tier(self) -> Tier:
            return tier()

    return Suite()


# ---- faults


def put_without_ttl(self: Self, entry: Entry) -> None:
    self.entries[entry.key] = (entry.data, self.now() + 10**12)


def put_with_any_ttl(self: Self, entry: Entry) -> None:
    self.entries[entry.key] = (entry.data, self.now() + round(entry.ttl * MICROS))


def put_with_the_first_ttl(self: Self, entry: Entry) -> None:
    expires = self.now() + round(min(entry.ttl, self.max_ttl) * MICROS)
    old = self.live(entry.key)
    self.entries[entry.key] = (entry.data, expires if old is None else old[1])


def put_half_the_ttl(self: Self, entry: Entry) -> None:
    life = round(min(entry.ttl, self.max_ttl) * MICROS / 2)
    self.entries[entry.key] = (entry.data, self.now() + life)


def put_text(self: Self, entry: Entry) -> None:
    MemoryTier.put(self, entry._replace(data=entry.data.decode(errors="replace").encode()))


def put_short_keys(self: Self, entry: Entry) -> None:
    MemoryTier.put(self, entry._replace(key=entry.key[:255]))


def put_bytearrays(self: Self, entry: Entry) -> None:
    MemoryTier.put(self, entry._replace(data=bytearray(entry.data)))  # type: ignore[arg-type]


def put_nothing_empty(self: Self, entry: Entry) -> None:
    if entry.data:
        MemoryTier.put(self, entry)


def may_fill_zero(self: Self, entry: Entry) -> bool:
    return entry.guard == 0 or entry.guard == self.guards.get(entry.key, 0)


def may_fill_unless_zero(self: Self, entry: Entry) -> bool:
    return entry.guard != 0 or self.guards.get(entry.key, 0) == 0


def may_fill_later(self: Self, entry: Entry) -> bool:
    return self.guards.get(entry.key, 0) >= entry.guard


def may_fill_first(self: Self, entry: Entry) -> bool:
    return MemoryTier.may_fill(self, entry) and self.live(entry.key) is None


def store_and_guard(self: Self, entries: Any, deadline: Any) -> list[bool]:
    told = MemoryTier.store(self, entries, deadline)
    for entry in entries:
        self.raise_guard(entry.key)
    return told


def store_all_or_none(self: Self, entries: Any, deadline: Any) -> list[bool]:
    if not all(self.may_fill(entry) for entry in entries):
        return [False] * len(entries)
    return MemoryTier.store(self, entries, deadline)


def store_then_refuse(self: Self, entries: Any, deadline: Any) -> list[bool]:
    told = [self.may_fill(entry) for entry in entries]
    for entry in entries:
        self.put(entry)
    return told


def write_if_guarded(self: Self, entries: Any, deadline: Any) -> None:
    MemoryTier.write(self, [entry for entry in entries if entry.guard in (0, 1)], deadline)


def write_without_guard(self: Self, entries: Any, deadline: Any) -> None:
    for entry in entries:
        self.put(entry)


def delete_without_guard(self: Self, keys: Any, deadline: Any) -> list[bool]:
    return [self.entries.pop(key, None) is not None for key in keys]


def delete_guards_what_is_there(self: Self, keys: Any, deadline: Any) -> list[bool]:
    there = [self.live(key) is not None for key in keys]
    MemoryTier.delete(self, [key for key, was in zip(keys, there, strict=True) if was], deadline)
    return there


def delete_counts_dead(self: Self, keys: Any, deadline: Any) -> list[bool]:
    there = [key in self.entries for key in keys]
    MemoryTier.delete(self, keys, deadline)
    return there


def delete_keeps(self: Self, keys: Any, deadline: Any) -> list[bool]:
    there = [self.live(key) is not None for key in keys]
    for key in keys:
        self.raise_guard(key)
    return there


def erase_without_guard(self: Self, keys: Any, deadline: Any) -> int:
    return sum(self.entries.pop(key, None) is not None for key in keys)


def erase_counts_keys(self: Self, keys: Any, deadline: Any) -> int:
    MemoryTier.delete(self, keys, deadline)
    return len(keys)


def erase_leaves(self: Self, keys: Any, deadline: Any) -> int:
    there = sum(self.live(key) is not None for key in keys)
    for key in keys:
        self.raise_guard(key)
        self.entries[key] = (b"", self.now() + MICROS)
    return there


def guards_repeat(self: Self, key: str) -> None:
    self.guards[key] = 1 if self.guards.get(key) == 2 else 2


def guards_with_the_entry(self: Self, keys: Any, names: Any, deadline: Any) -> Fetched:
    for key in list(self.guards):
        if key in self.entries and self.live(key) is None:
            del self.guards[key], self.entries[key]
    return MemoryTier.fetch(self, keys, names, deadline)


def stamps_count_from_one(self: Self) -> int:
    self.last += 1
    return int(self.last)


def stamps_by_the_millisecond(self: Self) -> int:
    return int(self.now()) // 1000 * 1000


def stamp_anew(self: Self, names: Any, deadline: Any) -> list[int]:
    return self.bump(names, deadline)  # type: ignore[no-any-return]


def bump_only_what_is_there(self: Self, names: Any, deadline: Any) -> list[int]:
    MemoryTier.bump(self, [name for name in names if name in self.stamps], deadline)
    return [self.stamps.get(name, self.next_stamp()) for name in names]


def bump_everything(self: Self, names: Any, deadline: Any) -> list[int]:
    for name in self.stamps:
        self.stamps[name] = self.next_stamp()
    return MemoryTier.bump(self, names, deadline)


def bump_forgets_entries(self: Self, names: Any, deadline: Any) -> list[int]:
    for name in names:
        self.entries.pop(name, None)
    return MemoryTier.bump(self, names, deadline)


def fetch_sorted(self: Self, keys: Any, names: Any, deadline: Any) -> Fetched:
    return MemoryTier.fetch(self, sorted(set(keys)), sorted(names), deadline)


def fetch_the_dead(self: Self, keys: Any, names: Any, deadline: Any) -> Fetched:
    fetched = MemoryTier.fetch(self, keys, names, deadline)
    return fetched._replace(data=[self.entries.get(key, (None,))[0] for key in keys])


def fetch_makes_stamps(self: Self, keys: Any, names: Any, deadline: Any) -> Fetched:
    self.stamp(names, deadline)
    return MemoryTier.fetch(self, keys, names, deadline)


def confirm_lowers(self: Self, stamps: Any, replicas: int, deadline: Any) -> int:
    self.stamps |= dict(stamps)
    return 0


def confirm_counts_on_it(self: Self, stamps: Any, replicas: int, deadline: Any) -> int:
    return replicas


def acquire_twice(self: Self, key: str, fence: int, *rest: Any) -> Lease:
    self.leases.pop(key, None)
    return MemoryTier.acquire(self, key, fence, *rest)


def leases_for_ever(self: Self, key: str) -> tuple[int, int]:
    held: tuple[int, int] = self.leases.get(key, (0, 0))
    return held


def store_unleased(self: Self, entries: Any, deadline: Any) -> list[bool]:
    return MemoryTier.store(self, [entry._replace(fence=0) for entry in entries], deadline)


def incr_extends(self: Self, key: str, amount: int, ttl: Any, deadline: Any) -> int:
    value = MemoryTier.incr(self, key, amount, ttl, deadline)
    if ttl is not None:
        self.counters[key] = (value, self.now() + round(ttl * MICROS))
    return value


def incr_forgets_ttl(self: Self, key: str, amount: int, ttl: Any, deadline: Any) -> int:
    return MemoryTier.incr(self, key, amount, None, deadline)


def incr_beyond(self: Self, key: str, amount: int, ttl: Any, deadline: Any) -> int:
    value, expires = self.counters.get(key, (0, None))
    self.counters[key] = (value + amount, expires)
    return int(value + amount)


def incr_float(self: Self, key: str, amount: int, ttl: Any, deadline: Any) -> int:
    value, expires = self.counters.get(key, (0, -1))
    self.counters[key] = (int(float(value)), expires)
    return MemoryTier.incr(self, key, int(float(amount)), ttl, deadline)


def incr_loses(self: Self, key: str, amount: int, ttl: Any, deadline: Any) -> int:
    """Each thread adds to what it has seen itself, as if all had read before any wrote."""
    seen = self.__dict__.setdefault("seen", {})
    own = (threading.get_ident(), key)
    seen[own] = seen.get(own, 0) + amount
    return int(seen[own])


async def aincr_loses(self: Self, key: str, amount: int, ttl: Any, deadline: Any) -> int:
    value = self.counters.get(key, (0, None))[0]
    await asyncio.sleep(0)
    self.counters[key] = (value + amount, None)
    return int(value + amount)


def inspect_the_dead(self: Self, key: str, deadline: Any) -> Held | None:
    found = self.entries.get(key)
    return None if found is None else Held(found[0], (found[1] - self.now()) / MICROS)


def inspect_micros(self: Self, key: str, deadline: Any) -> Held | None:
    held = MemoryTier.inspect(self, key, deadline)
    return None if held is None else held._replace(ttl=held.ttl * MICROS)


def scan_a_pattern(self: Self, prefix: str, deadline: Any) -> Any:
    yield from ([key] for key in self.entries if fnmatch.fnmatchcase(key, f"{prefix}*"))


def scan_twice(self: Self, prefix: str, deadline: Any) -> Any:
    for batch in MemoryTier.scan(self, prefix, deadline):
        yield batch
        yield batch[:1]


def scan_all(self: Self, prefix: str, deadline: Any) -> Any:
    yield list(self.entries)


def scan_first_batch(self: Self, prefix: str, deadline: Any) -> Any:
    yield from list(MemoryTier.scan(self, prefix, deadline))[:1]


def scan_empty_batches(self: Self, prefix: str, deadline: Any) -> Any:
    yield []
    yield from MemoryTier.scan(self, prefix, deadline)


def scan_the_dead(self: Self, prefix: str, deadline: Any) -> Any:
    yield from ([key] for key in self.entries if key.startswith(prefix))


def close_for_good(self: Self) -> None:
    def closed(*_: object) -> Any:
        raise TierError("closed", tier="memory")

    self.store = closed


async def astore_in_one_loop(self: Self, entries: Any, deadline: Any) -> list[bool]:
    loop = asyncio.get_running_loop()
    if getattr(self, "loop", loop) is not loop:
        raise TierError("a client of another loop", tier="memory")
    self.loop = loop
    return MemoryTier.store(self, entries, deadline)


async def astore_elsewhere(self: Self, entries: Any, deadline: Any) -> list[bool]:
    return [True] * len(entries)


def needs_open(self: Self, *arguments: Any) -> list[bool]:
    if not getattr(self, "opened", False):
        raise TierError("not open", tier="memory")
    return MemoryTier.store(self, *arguments)


def opens(self: Self, deadline: Any) -> None:
    self.opened = True


def hangs(self: Self, names: Any, deadline: Any) -> list[int]:
    if not deadline.left():
        time.sleep(0.6)  # This is the fault.
    return MemoryTier.bump(self, names, deadline)


MUTANTS = [
    mutant("ForgetsTtl", put=put_without_ttl),
    mutant("ForgetsItsMaximum", put=put_with_any_ttl),
    mutant("KeepsTheFirstTtl", put=put_with_the_first_ttl),
    mutant("HalvesTtl", put=put_half_the_ttl),
    mutant("StoresText", put=put_text),
    mutant("CutsKeys", put=put_short_keys),
    mutant("GivesBytearrays", put=put_bytearrays),
    mutant("RefusesEmpty", put=put_nothing_empty),
    mutant("ForgetsGuards", may_fill=lambda *_: True),
    mutant("TakesGuardZero", may_fill=may_fill_zero),
    mutant("ForgetsGuardsButZero", may_fill=may_fill_unless_zero),
    mutant("TakesOlderGuards", may_fill=may_fill_later),
    mutant("FillsOnce", may_fill=may_fill_first),
    mutant("GuardsFills", store=store_and_guard),
    mutant("AllOrNone", store=store_all_or_none),
    mutant("RefusesTooLate", store=store_then_refuse),
    mutant("WritesIfGuarded", write=write_if_guarded),
    mutant("WritesUnguarded", write=write_without_guard),
    mutant("DeletesUnguarded", delete=delete_without_guard),
    mutant("GuardsWhatIsThere", delete=delete_guards_what_is_there),
    mutant("CountsTheDead", delete=delete_counts_dead),
    mutant("DeletesNothing", delete=delete_keeps),
    mutant("ErasesUnguarded", erase=erase_without_guard),
    mutant("CountsKeys", erase=erase_counts_keys),
    mutant("ErasesBytesOnly", erase=erase_leaves),
    mutant("RepeatsGuards", raise_guard=guards_repeat),
    mutant("DropsGuards", fetch=guards_with_the_entry),
    mutant("CountsStamps", next_stamp=stamps_count_from_one),
    mutant("RepeatsStamps", next_stamp=stamps_by_the_millisecond),
    mutant("StampsAnew", stamp=stamp_anew),
    mutant("BumpsWhatIsThere", bump=bump_only_what_is_there),
    mutant("BumpsAll", bump=bump_everything),
    mutant("BumpsKeys", bump=bump_forgets_entries),
    mutant("Sorts", fetch=fetch_sorted),
    mutant("FetchesTheDead", fetch=fetch_the_dead),
    mutant("StampsOnFetch", fetch=fetch_makes_stamps),
    mutant("ConfirmsLess", confirm=confirm_lowers),
    mutant("ConfirmsNothing", confirm=confirm_counts_on_it),
    mutant("LeasesTwice", acquire=acquire_twice),
    mutant("LeasesForEver", standing=leases_for_ever),
    mutant("StoresUnleased", store=store_unleased),
    mutant("LeasesWhatHasLanded", has_landed=lambda *_: False),
    mutant("ExtendsCounters", incr=incr_extends),
    mutant("KeepsCounters", incr=incr_forgets_ttl),
    mutant("CountsBeyond", incr=incr_beyond),
    mutant("CountsInFloats", incr=incr_float),
    mutant("LosesCounts", incr=incr_loses),
    mutant("LosesCountsInLoops", aincr=aincr_loses),
    mutant("InspectsTheDead", inspect=inspect_the_dead),
    mutant("InspectsMicroseconds", inspect=inspect_micros),
    mutant("ScansPatterns", scan=scan_a_pattern),
    mutant("ScansTwice", scan=scan_twice),
    mutant("ScansAll", scan=scan_all),
    mutant("ScansABatch", scan=scan_first_batch),
    mutant("ScansNothing", scan=scan_empty_batches),
    mutant("ScansTheDead", scan=scan_the_dead),
    mutant("ClosesForGood", close=close_for_good),
    mutant("KnowsOneLoop", astore=astore_in_one_loop),
    mutant("TwoStores", astore=astore_elsewhere),
    mutant("NeedsOpen", store=needs_open, open=opens),
    mutant("Hangs", bump=hangs),
    mutant("Nameless", name=""),
    mutant("CountsSeconds", now=lambda self: int(time.time())),
    mutant("HasNoIncr", incr=None),
]


def checks() -> set[str]:
    return {name for name in dir(TierConformance) if name.startswith("test_")}


@pytest.fixture(scope="module")
def caught() -> dict[str, dict[str, Exception]]:
    """What failed of each mutant. The checks wait most of the time, so they do it together."""
    with ThreadPoolExecutor(12) as pool:
        found = pool.map(lambda broken: failures(suite_of(broken)), MUTANTS)
        return dict(zip((broken.__name__ for broken in MUTANTS), found, strict=True))


def test_a_tier_that_keeps_its_promises_passes_without_pytest() -> None:
    assert failures(suite_of(MemoryTier)) == {}


def test_a_tier_need_not_have_what_is_optional() -> None:
    plain = mutant("Plain", confirm=None, acquire=None)
    assert not isinstance(plain(), Replicated | Leases)
    assert failures(suite_of(plain)) == {}


@pytest.mark.parametrize("broken", [broken.__name__ for broken in MUTANTS])
def test_a_broken_tier_is_caught(broken: str, caught: dict[str, dict[str, Exception]]) -> None:
    assert caught[broken]
    assert all(str(error) for error in caught[broken].values())


def test_every_check_catches_a_mutant(caught: dict[str, dict[str, Exception]]) -> None:
    useful = {name.partition("[")[0] for found in caught.values() for name in found}
    assert checks() - useful == set()


def test_both_ways_are_checked(caught: dict[str, dict[str, Exception]]) -> None:
    ways = {name.partition("[")[2] for name in caught["ForgetsGuards"]}
    assert ways == {"sync]", "async]"}


def test_a_suite_without_a_tier_says_what_it_needs() -> None:
    with pytest.raises(NotImplementedError, match="make_tier"):
        TierConformance().make_tier()


def test_it_needs_no_pytest() -> None:
    assert "pytest" not in vars(tier_conformance)
