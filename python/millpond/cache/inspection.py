"""Looking into tiers and taking bytes out of them: for people, not for calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millpond import _engine
from millpond.cache import names
from millpond.errors import TierError
from millpond.io.codecs import Codec, Unreadable
from millpond.io.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from millpond.cache.coherence import Holdings
    from millpond.cache.stage import Stage
    from millpond.tiers.base import Tier

    Found = tuple[set[str], list[Stage]]  # names, and the tiers that have said all of theirs

# Seconds that one step of such work may take; nobody's call waits for it.
_STEP_SECONDS: Final = 5.0
_SCAN_SECONDS: Final = 60.0
# Keys of entries, counters and marks. What others keep in the same store is none of ours.
_KEY: Final = re.compile(r"(?!~[a-z]:)([^:]+:(?:[^:]+:[^:]*)?:)(?:[0-9a-f]{64}(?:~n)?|~)$")


class View(NamedTuple):
    """An entry, as one tier has it.

    Attributes:
        tier: where.
        ttl: seconds it has left to live; None for no limit.
        fresh: of these, the seconds until its value is past its life and is kept only for
            `stale_while_revalidate` or `stale_if_error`; below 0 once it is; None for no limit.
        size: bytes it takes there.
        codec: how its value was encoded; None in memory.
        compressed, encrypted: whether it is.
        stored: when it was stored, seconds since 1970 by the tier's clock; None in memory.
        cost: dollars that it cost.
        stamps: the generations it carries; by name, whether each is still the present one.
        state: "live", "past" (its life, but kept), "stale" (a generation has changed),
            "unreadable" and why, or "out" and why: the tier could not say what it has.
    """

    tier: str
    ttl: float | None
    size: int
    codec: str | None = None
    compressed: bool = False
    encrypted: bool = False
    stored: float | None = None
    cost: float = 0.0
    stamps: Mapping[str, bool] = {}
    state: str = "live"
    fresh: float | None = None


def views(key: str, stages: Sequence[Stage], holdings: Holdings) -> list[View]:
    """What memory and each tier has under a key."""
    tag = _engine.tag_hash(key)
    found: list[View] = []
    for cache in holdings.caches():
        held = cache._held_under(tag)
        if held is not None:
            weight, left, fresh = held
            found.append(View("memory", left, weight, state=_life(fresh), fresh=fresh))
    return found + [view for stage in stages if (view := _view(key, stage.tier)) is not None]


def _view(key: str, tier: Tier) -> View | None:
    try:
        return _held(key, tier)
    except TierError as error:
        return View(tier.name, None, 0, state=f"out: {error.kind}")


def _held(key: str, tier: Tier) -> View | None:
    held = tier.inspect(key, Deadline.after(_STEP_SECONDS))
    if held is None:
        return None
    try:
        head = Codec().head(held.data)
    except Unreadable as error:
        return View(tier.name, held.ttl, len(held.data), state=f"unreadable: {error.kind}")
    wanted = [name for name, _ in head.stamps]
    present = tier.fetch([], wanted, Deadline.after(_STEP_SECONDS)).stamps
    same = {name: now == at for (name, at), now in zip(head.stamps, present, strict=True)}
    end = head.fresh_us or head.expires_us
    fresh = (end - tier.now()) / 1e6 if end else None
    return View(
        tier.name,
        held.ttl,
        len(held.data),
        head.codec,
        head.compressed,
        head.encrypted,
        head.stored_us / 1e6,
        head.cost,
        same,
        _life(fresh) if all(same.values()) else "stale",
        fresh,
    )


def _life(fresh: float | None) -> str:
    return "live" if fresh is None or fresh > 0 else "past"


def scan(prefix: str, stages: Sequence[Stage]) -> Iterator[str]:
    """The keys in all tiers that begin with `prefix`, each once."""
    seen: set[str] = set()
    for stage in stages:
        for batch in stage.tier.scan(prefix, Deadline.after(_STEP_SECONDS)):
            for key in batch:
                if key not in seen and not key.endswith(names.MARK):
                    seen.add(key)
                    yield key


def prefixes(literal: str, stages: Sequence[Stage]) -> Found:
    """What functions and caches are called that tiers know of, as far as they begin so."""
    found: set[str] = set()
    heard: list[Stage] = []
    for stage in stages:
        try:
            for batch in stage.tier.scan(literal, Deadline.after(_SCAN_SECONDS)):
                found |= _prefixes_of(batch)
        except Exception as error:  # noqa: BLE001 (counted and logged there)
            _failed(stage, error)
        else:
            heard.append(stage)
    return found, heard


async def aprefixes(literal: str, stages: Sequence[Stage]) -> Found:
    """The same in an event loop."""
    found: set[str] = set()
    heard: list[Stage] = []
    for stage in stages:
        try:
            async for batch in stage.tier.ascan(literal, Deadline.after(_SCAN_SECONDS)):
                found |= _prefixes_of(batch)
        except Exception as error:  # noqa: BLE001 (the same)
            _failed(stage, error)
        else:
            heard.append(stage)
    return found, heard


def _failed(stage: Stage, error: Exception) -> None:
    """Only then: how long it takes is not the tier's to answer for, but grows with what it has."""
    ticket = stage.monitor.begin("scan")
    if ticket >= 0:
        stage.failed(ticket, "scan", error)


def _prefixes_of(keys: Sequence[str]) -> set[str]:
    return {match.group(1) for key in keys if (match := _KEY.match(key)) is not None}


def erase(tag: str, namespaces: Sequence[str], stages: Sequence[Stage]) -> dict[str, int]:
    """Remove the entries that carry a tag from every tier; how many, by tier.

    Raises:
        TierError: a tier could not be gone through to the end.
    """
    name = _engine.generation_name("t", tag)
    removed: dict[str, int] = {}
    for stage in reversed(stages):
        tier = stage.tier
        tier.bump([name], Deadline.after(_STEP_SECONDS))
        removed[tier.name] = sum(
            _erase_below(f"{namespace}:", name, tier) for namespace in namespaces
        )
    return removed


def _erase_below(prefix: str, name: str, tier: Tier) -> int:
    count = 0
    for batch in tier.scan(prefix, Deadline.after(60 * _STEP_SECONDS)):
        fetched = tier.fetch(batch, [], Deadline.after(_STEP_SECONDS))
        doomed = [
            key
            for key, data in zip(batch, fetched.data, strict=True)
            if data is not None and _carries(data, name)
        ]
        if doomed:
            count += tier.erase(doomed, Deadline.after(_STEP_SECONDS))
    return count


def _carries(data: bytes, name: str) -> bool:
    try:
        stamps: Any = Codec(max_value_bytes=1 << 30).head(data).stamps
    except Unreadable:
        return False  # Whatever it is, no reader takes it for one of ours.
    return any(carried == name for carried, _ in stamps)
