"""What the breaker and the statistics of a tier add to each operation on it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from .. import peers
from ..loops import TimedLoop
from ..model import Contender, Context, Row, Sampler, Target

_TURNS = [None] * 1_000


def _monitor() -> Any:
    return peers.need("millpond._engine").TierMonitor("redis")


def _operation(context: Context) -> Sampler:
    monitor = _monitor()
    names = {"begin": monitor.begin, "end": monitor.end}
    return TimedLoop(context, 'end(begin("fetch"), None, 812, 0)', names, _TURNS)


def _refused(context: Context) -> Sampler:
    monitor = _monitor()
    while monitor.end(monitor.begin("fetch"), "unavailable") != "opened":
        pass
    return TimedLoop(context, 'begin("fetch")', {"begin": monitor.begin}, _TURNS)


def _counted(context: Context) -> Sampler:
    return TimedLoop(context, 'count("hit")', {"count": _monitor().count}, _TURNS)


def _by_hand(context: Context) -> Sampler:
    """Return the least that one writes in a service: two readings of the clock, and three sums."""
    sums = {"calls": 0, "seconds": 0.0, "bytes": 0}
    statement = """began = now()
sums["calls"] += 1
sums["bytes"] += 812
sums["seconds"] += now() - began"""
    return TimedLoop(context, statement, {"now": perf_counter, "sums": sums}, _TURNS)


def rows() -> list[Row]:
    return [
        Row(
            name="monitor/operation",
            title="TierMonitor: `begin` and `end` of one operation, breaker and quantiles included",
            contenders=(
                Contender("millpond", _operation, "millpond"),
                Contender("clock and dict", _by_hand),
            ),
            targets=(Target(500),),
        ),
        Row(
            name="monitor/refused",
            title="TierMonitor: `begin` while the tier is out",
            contenders=(Contender("millpond", _refused, "millpond"),),
            targets=(Target(100),),
        ),
        Row(
            name="monitor/event",
            title="TierMonitor: `count`",
            contenders=(Contender("millpond", _counted, "millpond"),),
            targets=(Target(100),),
        ),
    ]
