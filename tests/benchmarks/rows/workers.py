"""What several processes get out of one Redis: calls a second, and how often the function ran."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from time import perf_counter_ns

from ..model import Contender, Context, Row, Sampler
from . import redis

KEYS = 500
CALLS = 2_000  # of each process
LOAD_MS = 2

# A process of a service: it is given the name of a run, says that it is ready, is told to go on,
# and says how often it ran the function.
_WORKER = """
    import random, sys, time
    from millpond.engine import Engine

    for line in sys.stdin:
        mill = Engine(namespace=line.strip(), redis={url!r}, database=False)
        made = []

        @mill.with_cache(namespace="bench", ttl="1h", {options})
        def load(number):
            made.append(number)
            time.sleep({load} / 1000)
            return number

        load(-{number})  # Connects.
        chance = random.Random({number})
        wanted = [int({keys} * chance.random() ** 2) for _ in range({calls})]
        print("ready", flush=True)
        sys.stdin.readline()
        for number in wanted:
            load(number)
        print(len(made) - 1, flush=True)
        mill.close()
"""
_RUNS = itertools.count()


def _together(count: int, options: str = "") -> Callable[[Context], Sampler]:
    """Calls a second of so many processes that begin with nothing."""

    def prepare(context: Context) -> Sampler:
        workers = [_start(context, number, options) for number in range(1, count + 1)]

        def tell(line: str) -> None:
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write(f"{line}\n")
                worker.stdin.flush()

        def answers() -> list[str]:
            return [worker.stdout.readline().strip() for worker in workers if worker.stdout]

        def sample() -> float:
            tell(f"run-{os.getpid()}-{next(_RUNS)}")
            assert answers() == ["ready"] * count
            began = perf_counter_ns()
            tell("go")
            made = sum(map(int, answers()))
            seconds = (perf_counter_ns() - began) / 1e9
            context.notes["function calls"] = made
            return count * CALLS / seconds

        return sample

    return prepare


def _start(context: Context, number: int, options: str) -> subprocess.Popen[str]:
    url = redis.server().url
    given = {"number": number, "keys": KEYS, "calls": CALLS, "load": LOAD_MS}
    script = textwrap.dedent(_WORKER).format(url=url, options=options, **given)
    worker = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    context.cleanup.callback(worker.wait)
    context.cleanup.callback(worker.kill)
    return worker


def rows() -> list[Row]:
    return [
        Row(
            name="workers/redis",
            title=f"processes that share a Redis: {CALLS:,} calls each of {KEYS} values that take "
            f"{LOAD_MS} ms; the last column: 8 that use memory alone",
            contenders=(
                *(
                    Contender(f"millpond {count}", _together(count), "millpond")
                    for count in (1, 2, 4, 8)
                ),
                Contender("memory 8", _together(8, 'tiers=("memory",)'), "millpond"),
            ),
            unit="calls/s",
            baseline="millpond 1",
            higher_is_better=True,
            passes=3,
            rounds=1,
            per_round=1,
        ),
    ]
