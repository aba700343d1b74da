"""What a miss costs: the key, the flight, the store and the eviction around a call that is free."""

from __future__ import annotations

from typing import Any

from .. import inputs, peers
from ..loops import TimedLoop
from ..model import Contender, Context, Row, Sampler, Target

SIZE = 1_000
PLAIN = "plain call"


def load(x: Any) -> Any:
    return x


def _undecorated(function: Any, size: int) -> Any:
    return function


def _row(kind: str) -> Row:
    def contender(name: str, peer: str, decorate: peers.Decorate) -> Contender:
        def prepare(context: Context) -> Sampler:
            f = decorate(load, SIZE)
            for key in inputs.universe(kind, SIZE):
                f(key)
            return TimedLoop(context, "f(x)", {"f": f}, inputs.new_keys(kind))

        return Contender(name, prepare, peer)

    contenders = {**peers.DECORATORS, PLAIN: ("", _undecorated)}
    return Row(
        name=f"miss/{kind}",
        title=f"decorated miss `f(x)`, every call a new {kind} key, full cache of 1,000",
        contenders=tuple(contender(name, *how) for name, how in contenders.items()),
        baseline="lru_cache",
        targets=tuple(
            Target(3.0, of="lru_cache", minus=PLAIN, whose=whose)
            for whose in ("millpond", "millpond lru")
        ),
    )


def rows() -> list[Row]:
    return [_row("str"), _row("int")]
