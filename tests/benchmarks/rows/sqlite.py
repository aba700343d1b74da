"""What the SQLite tier costs, beside diskcache, which keeps its entries in SQLite too."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import peers
from ..loops import AsyncTimedLoop, TimedLoop, new_event_loop
from ..model import Contender, Context, Row, Sampler, Target

KEYS = [f"bench:f:1:{number:032x}" for number in range(1_000)]
BATCHES = [KEYS[start : start + 100] for start in range(0, 900, 50)] * 8
DATA = bytes(range(256)) * 4
PEER = "diskcache"
LIFE = 3_600.0

Make = Callable[[Context], Sampler]


def folder(context: Context) -> Path:
    made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    context.cleanup.callback(made.cleanup)
    return Path(made.name)


def tier(context: Context) -> Any:
    """A tier with the entries in it."""
    made = peers.need("millpond.tiers.sqlite").SQLiteTier(folder(context), timeout=10.0)
    context.cleanup.callback(made.close)
    made.store([entry()(key, DATA, LIFE) for key in KEYS], after()(10))
    return made


def disk(context: Context) -> Any:
    """A diskcache with the entries in it."""
    made = peers.need("diskcache").Cache(str(folder(context)))
    context.cleanup.callback(made.close)
    for key in KEYS:
        made.set(key, DATA, expire=LIFE)
    return made


def entry() -> Any:
    return peers.need("millpond.tiers.base").Entry


def after() -> Any:
    return peers.need("millpond.io.deadline").Deadline.after


def ours(statement: str, method: str, inputs: Any) -> Make:
    def prepare(context: Context) -> Sampler:
        names = {"f": getattr(tier(context), method), "after": after(), "entry": entry()}
        return TimedLoop(context, statement, {**names, "data": DATA}, inputs)

    return prepare


def ours_async(statement: str, method: str, inputs: Any) -> Make:
    def prepare(context: Context) -> Sampler:
        loop = new_event_loop(context)
        names = {"f": getattr(tier(context), method), "after": after()}
        return AsyncTimedLoop(context, loop, f"await {statement}", names, inputs)

    return prepare


def peer(statement: str, inputs: Any) -> Make:
    def prepare(context: Context) -> Sampler:
        names = {"cache": disk(context), "data": DATA, "life": LIFE}
        return TimedLoop(context, statement, names, inputs)

    return prepare


def new_keys() -> Callable[[int], list[str]]:
    count = itertools.count(len(KEYS))
    return lambda many: [f"bench:f:1:{next(count):032x}" for _ in range(many)]


def _row(name: str, title: str, make: Make, other: Make, limit: float | None = None) -> Row:
    return Row(
        name=f"sqlite/{name}",
        title=title,
        contenders=(Contender("millpond", make, "millpond"), Contender(PEER, other, PEER)),
        baseline=PEER,
        targets=() if limit is None else (Target(limit, of=PEER),),
    )


ONE = "f((x,), (), after(1))"
GET = "cache.get(x)"


def rows() -> list[Row]:
    return [
        _row(
            "fetch",
            "L3 SQLite: the entry and guard of a key, 1 KB, beside diskcache's get",
            ours(ONE, "fetch", KEYS),
            peer(GET, KEYS),
            0.8,
        ),
        _row(
            "afetch",
            "the same in an event loop",
            ours_async(ONE, "afetch", KEYS),
            peer(GET, KEYS),
            0.8,
        ),
        _row(
            "fetch-100",
            "100 entries in one call, beside 100 gets",
            ours("f(x, (), after(1))", "fetch", BATCHES),
            peer("for key in x: cache.get(key)", BATCHES),
            0.8,
        ),
        _row(
            "store",
            "a fill that is waited for, 1 KB, beside diskcache's set",
            ours("f([entry(x, data, 3600.0)], after(10))", "store", new_keys()),
            peer("cache.set(x, data, expire=life)", new_keys()),
        ),
        _row(
            "store-100",
            "100 fills in one call, beside 100 sets in one transaction",
            ours("f([entry(key, data, 3600.0) for key in x], after(10))", "store", BATCHES),
            peer(
                "with cache.transact():\n    for key in x: cache.set(key, data, expire=life)",
                BATCHES,
            ),
        ),
    ]
