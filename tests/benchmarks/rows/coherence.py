"""How soon another process follows an invalidation, and what listening costs the server."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from time import monotonic_ns, sleep
from typing import Any

from .. import peers
from ..model import Contender, Context, Row, Sampler, Target
from . import redis

# What the other process does: it holds a value, says so, and says when it has gone.
_OTHER = """
    import sys, time
    from millpond.engine import Engine

    options = {options}
    mill = Engine(namespace="bench", **options)

    @mill.with_cache(namespace="bench", tags=("bench:{{number}}",), ttl="1h")
    def held(number):
        return number

    for line in sys.stdin:
        number = int(line)
        while not held.cache_contains(number):
            held(number)
        print("held", flush=True)
        while held.cache_contains(number):
            time.sleep(0.0001)  # As a service that waits for something else would be.
        print(time.monotonic_ns(), flush=True)
"""


def _delay(options: Callable[[Context], dict[str, Any]]) -> Callable[[Context], Sampler]:
    def prepare(context: Context) -> Sampler:
        given = options(context)
        mill = peers.need("millpond.engine").Engine(namespace="bench", **given)
        context.cleanup.callback(mill.close)
        script = textwrap.dedent(_OTHER).format(options=repr(given))
        other = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        context.cleanup.callback(other.wait)
        context.cleanup.callback(other.kill)
        stdin, stdout = other.stdin, other.stdout
        assert stdin is not None
        assert stdout is not None
        number = 0
        delays: list[float] = []

        def sample() -> float:
            nonlocal number
            number += 1
            stdin.write(f"{number}\n")
            stdin.flush()
            assert stdout.readline() == "held\n"
            sleep(0.002)  # Long enough for what was told of its making to have arrived.
            before = monotonic_ns()
            mill.invalidate(tags=f"bench:{number}")
            delays.append(int(stdout.readline()) - before)
            ordered = sorted(delays)
            context.notes["p99_us"] = round(ordered[int(len(ordered) * 0.99)] / 1e3)
            return delays[-1]

        return sample

    return prepare


def _redis(_context: Context) -> dict[str, Any]:
    return {"redis": redis.server().url, "database": False}


def _sqlite(context: Context) -> dict[str, Any]:
    import tempfile

    folder = context.cleanup.enter_context(tempfile.TemporaryDirectory())
    return {"data_dir": folder + "/data"}


class _Deaf:
    """A listener that does nothing with what it is told."""

    def changed(self, names: Any, keys: Any) -> None: ...
    def everything(self) -> None: ...
    def alive(self, seconds: float) -> None: ...
    def up(self, yes: bool) -> None: ...


def _store_cpu(workers: int) -> Callable[[Context], Sampler]:
    """Microseconds of the server's CPU for one fill while so many workers listen."""

    def prepare(context: Context) -> Sampler:
        url = redis.server().url
        after = redis.after()
        entry = peers.need("millpond.tiers.base").Entry
        listening = [redis.tier()(url) for _ in range(workers)]
        for one in listening:
            one.watch(_Deaf(), 5.0)
            context.cleanup.callback(one.close)
        filler = redis.tier()(url)
        context.cleanup.callback(filler.close)
        client = peers.need("redis").Redis.from_url(url)
        context.cleanup.callback(client.close)

        while int(client.info("clients")["tracking_clients"]) < workers:
            sleep(0.01)
        entries = [entry(f"bench:cpu:1:{number:032x}", redis.DATA, 60.0) for number in range(50)]

        def sample() -> float:
            before = _cpu(client)
            for _ in range(20):
                filler.store(entries, after(10))
            return (_cpu(client) - before) / 1000 * 1e9

        return sample

    return prepare


def _cpu(client: Any) -> float:
    info = client.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


def rows() -> list[Row]:
    return [
        Row(
            name="coherence/redis-delay",
            title="from an invalidation to its end in another process's memory, through Redis",
            contenders=(Contender("millpond", _delay(_redis), "millpond"),),
            targets=(Target(5_000_000),),
        ),
        Row(
            name="coherence/sqlite-delay",
            title="the same through a SQLite file",
            contenders=(Contender("millpond", _delay(_sqlite), "millpond"),),
            targets=(Target(20_000_000),),
        ),
        Row(
            name="coherence/store-cpu",
            title="the server's CPU for a fill while 1, 10 and 100 workers listen",
            contenders=(
                Contender("none", _store_cpu(0), "millpond"),
                Contender("millpond 1", _store_cpu(1), "millpond"),
                Contender("millpond 10", _store_cpu(10), "millpond"),
                Contender("millpond 100", _store_cpu(100), "millpond"),
            ),
            baseline="none",
            targets=(Target(1.1, of="none", whose="millpond 100"),),
        ),
    ]
