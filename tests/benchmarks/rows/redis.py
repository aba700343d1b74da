"""What a look-up in Redis costs, beside redis-py's own client on the same server."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import peers
from ..loops import AsyncTimedLoop, TimedLoop, new_event_loop
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

KEYS = [f"bench:f:1:{number:032x}" for number in range(1_000)]
BATCHES = [KEYS[start : start + 100] for start in range(0, 900, 50)] * 8
DATA = bytes(range(256)) * 4
# The client that people use, with what it does unless told otherwise.
CLIENT = "redis-py"

Make = Callable[[Context], Sampler]


@functools.cache
def server() -> Any:
    """A server of the tests' own, with the entries in it; it ends with this process."""
    if not shutil.which("redis-server"):
        raise Unavailable("needs redis-server (Debian's package: redis-server)")
    peers.need("redis")
    root = str(Path(__file__).parents[3])
    if root not in sys.path:
        sys.path.append(root)
    from tests.integration.servers import RedisServer

    server = RedisServer().start()
    filler = tier()(server.url)
    entry = peers.need("millpond.tiers.base").Entry
    filler.store([entry(key, DATA, 3_600.0) for key in KEYS], after()(10))
    filler.close()
    return server


def tier() -> Any:
    return peers.need("millpond.tiers.redis").RedisTier


def after() -> Any:
    return peers.need("millpond.io.deadline").Deadline.after


def ours(statement: str, inputs: list[Any]) -> Make:
    def prepare(context: Context) -> Sampler:
        made = tier()(server().url)
        context.cleanup.callback(made.close)
        return TimedLoop(context, statement, {"f": made.fetch, "after": after()}, inputs)

    return prepare


def ours_async(statement: str, inputs: list[Any]) -> Make:
    def prepare(context: Context) -> Sampler:
        loop = new_event_loop(context)
        made = tier()(server().url)
        context.cleanup.callback(lambda: loop.run_until_complete(made.aclose()))
        names = {"f": made.afetch, "after": after()}
        return AsyncTimedLoop(context, loop, f"await {statement}", names, inputs)

    return prepare


def client(method: str, inputs: list[Any]) -> Make:
    def prepare(context: Context) -> Sampler:
        made = peers.need("redis").Redis.from_url(server().url)
        context.cleanup.callback(made.close)
        return TimedLoop(context, "f(x)", {"f": getattr(made, method)}, inputs)

    return prepare


def client_async(method: str, inputs: list[Any]) -> Make:
    def prepare(context: Context) -> Sampler:
        loop = new_event_loop(context)
        made = peers.need("redis.asyncio").Redis.from_url(server().url)
        context.cleanup.callback(lambda: loop.run_until_complete(made.aclose()))
        return AsyncTimedLoop(context, loop, "await f(x)", {"f": getattr(made, method)}, inputs)

    return prepare


def _row(name: str, title: str, make: Make, peer: Make, limit: float) -> Row:
    return Row(
        name=f"redis/{name}",
        title=title,
        contenders=(
            Contender("millpond", make, "millpond"),
            Contender(CLIENT, peer, "redis"),
        ),
        baseline=CLIENT,
        targets=(Target(limit, of=CLIENT),),
    )


ONE = "f((x,), (), after(1))"
MANY = "f(x, (), after(1))"


def rows() -> list[Row]:
    return [
        _row(
            "fetch",
            "L2 Redis: the entry and guard of a key, 1 KB, beside redis-py's GET",
            ours(ONE, KEYS),
            client("get", KEYS),
            1.0,
        ),
        _row(
            "afetch",
            "the same in an event loop",
            ours_async(ONE, KEYS),
            client_async("get", KEYS),
            1.0,
        ),
        _row(
            "fetch-100",
            "L2 Redis: 100 entries of 1 KB and their guards, beside redis-py's MGET",
            ours(MANY, BATCHES),
            client("mget", BATCHES),
            1.25,
        ),
        _row(
            "afetch-100",
            "the same in an event loop",
            ours_async(MANY, BATCHES),
            client_async("mget", BATCHES),
            1.25,
        ),
    ]
