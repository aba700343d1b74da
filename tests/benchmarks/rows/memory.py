"""How many bytes a cache holds for an entry beyond the key and the value themselves."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any

from .. import inputs, probes
from ..model import Contender, Context, Row, Sampler, Target, Unavailable
from . import caches


def _lru_cache(keys: list[Any]) -> Any:
    cached = functools.lru_cache(maxsize=len(keys))(lambda x: x)
    for key in keys:
        cached(key)
    return cached


def bytes_per_entry(name: str, size: int) -> dict[str, Any]:
    """Fill a cache with str keys that exist already, each its own value, and count (in a probe)."""
    keys = inputs.universe("str", size)
    if name == "lru_cache":
        _lru_cache(keys[:100])
    else:
        caches.filled(caches.STORES[name][1], keys[:100], 100)
    gc.collect()
    allocated, resident = probes.allocated_bytes(), probes.resident_bytes()
    if name == "lru_cache":
        kept = _lru_cache(keys)
    else:
        kept = caches.filled(caches.STORES[name][1], keys, size).cache
    gc.collect()
    figures = {
        "allocated": (probes.allocated_bytes() - allocated) / size,
        "resident": (probes.resident_bytes() - resident) / size,
    }
    held = _held(name, kept)
    if held is not None and held < 0.99 * size:
        raise Unavailable(f"holds only {held:,} of {size:,} entries")
    return figures


def _held(name: str, cache: Any) -> int | None:
    """Return how many entries a cache says that it holds, None if it does not say."""
    if name == "lru_cache":
        return int(cache.cache_info().currsize)
    if name == "moka-py":
        cache.run_pending_tasks()
        return int(cache.count())
    count: Callable[[Any], int] = len
    return count(cache)


def _row(exponent: int) -> Row:
    def contender(name: str, peer: str) -> Contender:
        def prepare(context: Context) -> Sampler:
            notes = context.notes

            def answer() -> float:
                found = probes.ask(bytes_per_entry, name=name, size=10**exponent)
                notes["resident B"] = round(found["resident"])
                if found["allocated"] >= found["resident"] / 2:
                    return float(found["allocated"])
                # It has an allocator of its own, which malloc's count does not see.
                notes["counted by"] = "resident set"
                return float(found["resident"])

            return probes.asked_already(answer)

        return Contender(name, prepare, peer)

    who = [(name, peer) for name, (peer, _) in caches.STORES.items()]
    who.insert(2, ("lru_cache", ""))
    return Row(
        name=f"memory/1e{exponent}",
        title=f"allocated bytes an entry at 10^{exponent} str keys, keys and values not counted",
        contenders=tuple(contender(*each) for each in who),
        unit="B",
        baseline="cachetools+lock",
        # 64 bytes of metadata, and the pointers to key and value. The engine's own benchmark counts
        # the hash of the key, half of a fingerprint, with them, as the 64 bytes are meant.
        targets=(Target(80.0), Target(80.0, whose="millpond lru")),
        passes=1,
        rounds=2,
        per_round=1,
        slow=exponent > 5,
    )


def rows() -> list[Row]:
    return [_row(5), _row(6)]
