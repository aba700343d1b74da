"""What a decorated hit costs: one key, many keys, keywords, `*args`, two arguments, methods."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .. import inputs, peers
from ..loops import TimedLoop
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

SIZE = 1_000


def first_argument(x: Any) -> Any:
    return x


def of_two(x: Any, y: Any) -> Any:
    return x


def warm(function: Callable[[Any], Any], keys: Sequence[Any], calls: list[int]) -> None:
    """Fill the cache and check that what is then measured are hits."""
    for key in keys:
        function(key)
    before = calls[0]
    for key in keys:
        function(key)
    missed = calls[0] - before
    if missed > len(keys) // 100:
        raise Unavailable(f"misses {missed} of {len(keys)} keys that it should hold")


def counted(calls: list[int]) -> Callable[[Any], Any]:
    def load(x: Any) -> Any:
        calls[0] += 1
        return x

    return load


def _positional(decorate: peers.Decorate, universe: list[Any], sequence: list[Any]) -> Any:
    def prepare(context: Context) -> Sampler:
        calls = [0]
        f = decorate(counted(calls), SIZE)
        warm(f, universe, calls)
        return TimedLoop(context, "f(x)", {"f": f}, sequence)

    return prepare


def _statement(
    decorate: peers.Decorate,
    function: Callable[..., Any],
    statement: str,
    sequence: list[Any],
    item: str = "x",
) -> Any:
    def prepare(context: Context) -> Sampler:
        f = decorate(function, SIZE)
        loop = TimedLoop(context, statement, {"f": f}, sequence, item=item)
        loop()  # Every input once: from here on all are hits.
        return loop

    return prepare


def _contenders(prepare: Callable[[peers.Decorate], Any]) -> tuple[Contender, ...]:
    return tuple(
        Contender(name, prepare(decorate), peer)
        for name, (peer, decorate) in peers.DECORATORS.items()
    )


def _targets(limit: float) -> tuple[Target, ...]:
    return tuple(
        Target(limit, of="lru_cache", whose=whose) for whose in ("millpond", "millpond lru")
    )


def _row(
    name: str, title: str, prepare: Callable[[peers.Decorate], Any], limit: float | None = None
) -> Row:
    return Row(
        name=name,
        title=title,
        contenders=_contenders(prepare),
        baseline="lru_cache",
        targets=_targets(limit) if limit is not None else (),
    )


def _method_millpond(policy: str | None) -> Callable[[], type]:
    def make() -> type:
        mp = peers.need_millpond("with_cache")
        options = {"policy": policy} if policy else {}

        class Service:
            @mp.with_cache(ttl="10m", max_entries=SIZE, **options)  # type: ignore[untyped-decorator]
            def load(self, x: Any) -> Any:
                return x

        return Service

    return make


def _method_lru() -> type:
    class Service:
        @functools.lru_cache(maxsize=SIZE)  # noqa: B019 (it goes with the row)
        def load(self, x: Any) -> Any:
            return x

    return Service


def _method_cachebox() -> type:
    module = peers.need("cachebox")

    class Service:
        @module.cached(  # type: ignore[untyped-decorator]
            module.TTLCache(SIZE, global_ttl=peers.TTL_SECONDS), postprocess=None
        )
        def load(self, x: Any) -> Any:
            return x

    return Service


def _method_cachetools() -> type:
    module = peers.need("cachetools")

    class Service:
        def __init__(self) -> None:
            self.cache = module.TTLCache(SIZE, peers.TTL_SECONDS)
            self.lock = threading.Lock()

        @module.cachedmethod(  # type: ignore[untyped-decorator]
            lambda self: self.cache, lock=lambda self: self.lock
        )
        def load(self, x: Any) -> Any:
            return x

    return Service


def _method_row() -> Row:
    sequence = inputs.zipf(inputs.universe("str", SIZE))

    def contender(name: str, peer: str, make: Callable[[], type]) -> Contender:
        def prepare(context: Context) -> Sampler:
            loop = TimedLoop(context, "service.load(x)", {"service": make()()}, sequence)
            loop()
            return loop

        return Contender(name, prepare, peer)

    return Row(
        name="hit/method",
        title="method hit `service.load(x)`, one instance, Zipf over 1,000 str keys",
        contenders=(
            contender("millpond", "millpond", _method_millpond(None)),
            contender("millpond lru", "millpond", _method_millpond("lru")),
            contender("lru_cache", "", _method_lru),
            contender("cachebox ttl", "cachebox", _method_cachebox),
            contender("cachetools+lock", "cachetools", _method_cachetools),
        ),
        baseline="lru_cache",
    )


def _one_key(kind: str) -> Row:
    keys = inputs.universe(kind, 1)
    repeated = keys * inputs.DRAWS
    title = f"decorated hit `f(x)`, one {kind} key"
    return _row(f"hit/one/{kind}", title, lambda d: _positional(d, keys, repeated), 0.6)


def _zipf(kind: str) -> Row:
    keys = inputs.universe(kind, SIZE)
    drawn = inputs.zipf(keys)
    title = f"decorated hit `f(x)`, Zipf over a full cache of 1,000 {kind} keys"
    return _row(f"hit/zipf/{kind}", title, lambda d: _positional(d, keys, drawn), 0.7)


def rows() -> list[Row]:
    keys = inputs.universe("str", SIZE)
    drawn = inputs.zipf(keys)
    again = inputs.copies(drawn)
    arguments = [(key,) for key in drawn]
    pairs = [(key, "eu") for key in drawn]
    return [
        _one_key("str"),
        _one_key("int"),
        _zipf("str"),
        _zipf("int"),
        _row(
            "hit/zipf/copies",
            "the same with equal strings that are other objects than the stored keys",
            lambda d: _positional(d, keys, again),
        ),
        _row(
            "hit/keyword",
            "keyword hit `f(x=key)`, one str key",
            lambda d: _statement(d, first_argument, "f(x=x)", keys[:1] * inputs.DRAWS),
            0.25,
        ),
        _row(
            "hit/star-args",
            "hit called as `f(*args)`, Zipf over 1,000 str keys",
            lambda d: _statement(d, first_argument, "f(*args)", arguments, item="args"),
        ),
        _row(
            "hit/two",
            "hit with two arguments `f(x, y)`, Zipf over 1,000 pairs of str",
            lambda d: _statement(d, of_two, "f(x, y)", pairs, item="x, y"),
        ),
        _method_row(),
    ]
