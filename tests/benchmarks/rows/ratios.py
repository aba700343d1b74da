"""Hit ratios on recorded traces: the policies against a reference, and beside the peers.

The traces and the reference are no part of the project; `--data DIR` names the folder that has
`traces/*.u32.gz` and `traces/reference.json`.
"""

from __future__ import annotations

import gzip
import json
from array import array
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import peers, stats
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

# Points by which a policy may differ from the reference, None where the reference has none.
POLICIES: dict[str, float | None] = {
    "lru": 0.01,
    "fifo": 0.01,
    "sieve": 0.01,
    "s3fifo": 0.3,
    "lfu": None,
}
# A quick run takes the traces with no more accesses than this.
QUICK_ACCESSES = 150_000
# Traces of different kinds: database blocks, looping, a web site, prompt blocks of a model.
CELLS = (
    ("arc_OLTP", 1_868),
    ("multi3", 1_400),
    ("web12", 2_048),
    ("mooncake_synthetic_blocks", 5_000),
    ("loop", 500),
)


@lru_cache(maxsize=4)
def _trace(folder: Path, name: str) -> list[int]:
    path = folder / "traces" / f"{name}.u32.gz"
    if not path.is_file():
        raise Unavailable(f"the data folder has no traces/{path.name}")
    numbers = array("I")
    numbers.frombytes(gzip.decompress(path.read_bytes()))
    return numbers.tolist()


@lru_cache(maxsize=1)
def _reference(folder: Path) -> dict[str, Any]:
    path = folder / "traces" / "reference.json"
    if not path.is_file():
        raise Unavailable("the data folder has no traces/reference.json")
    traces: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["unit_size"]
    return traces


# Answers whether a key is there, and stores it if not: one access of a trace.
Access = Callable[[int], bool]


def replay(access: Access, trace: list[int]) -> float:
    """Return the hit ratio in percent."""
    return 100.0 * sum(map(access, trace)) / len(trace)


def of_millpond(policy: str | None, size: int) -> Access:
    mp = peers.need_millpond("Cache")
    options = {"policy": policy} if policy else {}
    cache = mp.Cache(max_entries=size, **options)
    get, put = cache.get, cache.set

    def access(key: int) -> bool:
        if get(key) is not None:
            return True
        put(key, True)
        return False

    return access


def of_cachetools(kind: str, size: int) -> Access:
    cache = getattr(peers.need("cachetools"), kind)(size)

    def access(key: int) -> bool:
        if cache.get(key) is not None:
            return True
        cache[key] = True
        return False

    return access


def of_moka(policy: str, size: int) -> Access:
    cache = peers.need("moka_py").Moka(size, policy=policy)

    def access(key: int) -> bool:
        if cache.get(key) is not None:
            return True
        cache.set(key, True)
        return False

    return access


def of_theine(size: int) -> Access:
    cache = peers.need("theine").Cache(size)

    def access(key: int) -> bool:
        if cache.get(key)[1]:
            return True
        cache.set(key, True)
        return False

    return access


def _once(figure: Callable[[], float]) -> Sampler:
    """A replay gives the same figure each time, so it is made once."""
    made = figure()
    return lambda: made


def _policy_row(policy: str, tolerance: float | None) -> Row:
    def prepare(context: Context) -> Sampler:
        folder = context.data
        assert folder is not None
        peers.need_millpond("Cache")
        off: dict[str, float] = {}
        ours: list[float] = []
        theirs: list[float] = []
        for name, about in _reference(folder).items():
            if context.quick and about["accesses"] > QUICK_ACCESSES:
                continue
            trace = _trace(folder, name)
            for size, cell in about["hit_ratio_percent"].items():
                ours.append(replay(of_millpond(policy, int(size)), trace))
                if policy in cell:
                    theirs.append(cell[policy])
                    off[f"{name}@{size}"] = abs(ours[-1] - cell[policy])
        context.notes["cells"] = len(ours)
        context.notes["mean hit ratio %"] = round(sum(ours) / len(ours), 3)
        if not off:
            return _once(lambda: sum(ours) / len(ours))
        worst = max(off, key=lambda cell: off[cell])
        context.notes["reference %"] = round(sum(theirs) / len(theirs), 3)
        context.notes["worst cell"] = worst
        context.notes["median off"] = round(stats.median(list(off.values())), 4)
        beyond = {cell: round(by, 2) for cell, by in off.items() if tolerance and by > tolerance}
        if beyond:
            context.notes["beyond the target"] = beyond
        return _once(lambda: off[worst])

    title = f"`Cache(policy={policy!r})` on the traces: "
    title += "largest difference from the reference" if tolerance else "mean hit ratio"
    return Row(
        name=f"policy/{policy}",
        title=title,
        contenders=(Contender("millpond", prepare, "millpond"),),
        unit="points" if tolerance else "%",
        targets=(Target(tolerance),) if tolerance else (),
        higher_is_better=tolerance is None,
        passes=1,
        rounds=1,
        per_round=1,
        data=True,
    )


CONTENDERS: dict[str, tuple[str, Callable[[int], Access]]] = {
    "millpond": ("millpond", lambda size: of_millpond(None, size)),
    "millpond lru": ("millpond", lambda size: of_millpond("lru", size)),
    "millpond sieve": ("millpond", lambda size: of_millpond("sieve", size)),
    "millpond lfu": ("millpond", lambda size: of_millpond("lfu", size)),
    "cachetools LRU": ("cachetools", lambda size: of_cachetools("LRUCache", size)),
    "cachetools LFU": ("cachetools", lambda size: of_cachetools("LFUCache", size)),
    "theine": ("theine", of_theine),
    "moka-py TinyLFU": ("moka-py", lambda size: of_moka("tiny_lfu", size)),
}


def _cell_row(trace: str, size: int) -> Row:
    def contender(name: str, peer: str, make: Callable[[int], Access]) -> Contender:
        def prepare(context: Context) -> Sampler:
            folder = context.data
            assert folder is not None
            accesses = _trace(folder, trace)
            return _once(lambda: replay(make(size), accesses))

        return Contender(name, prepare, peer)

    def optimum(context: Context) -> Sampler:
        assert context.data is not None
        cell = _reference(context.data)[trace]["hit_ratio_percent"][str(size)]
        return lambda: float(cell["opt"])

    return Row(
        name=f"ratio/{trace}@{size}",
        title=f"hit ratio on the trace {trace}, {size:,} entries (the offline optimum beside it)",
        contenders=(
            *(contender(name, *how) for name, how in CONTENDERS.items()),
            Contender("optimum", optimum),
        ),
        unit="%",
        higher_is_better=True,
        passes=1,
        rounds=1,
        per_round=1,
        data=True,
        slow=trace == "arc_OLTP",
    )


def rows() -> list[Row]:
    policies = [_policy_row(policy, tolerance) for policy, tolerance in POLICIES.items()]
    return [*policies, *(_cell_row(*cell) for cell in CELLS)]
