"""How many hits a second one cache gives to one thread and to several, under the GIL."""

from __future__ import annotations

import threading
from time import perf_counter_ns
from typing import Any

from .. import inputs, peers
from ..loops import TimedLoop, compile_loop
from ..model import Contender, Context, Row, Sampler

SIZE = 1_000
# Several turns of CPython's switch interval of 5 ms, so that threads do take turns.
SAMPLE_NS = 60_000_000


class Crowd:
    """A sampler: millions of calls a second that `count` threads make of one function together."""

    def __init__(self, f: Any, sequence: list[Any], count: int, sample_ns: int) -> None:
        each = TimedLoop(Context(sample_ns=1_000_000), "f(x)", {"f": f}, sequence)()
        turns = max(1, int(sample_ns / each / len(sequence) / count))
        self._sequence = sequence * turns
        self._loops = [compile_loop("f(x)", {"f": f}) for _ in range(count)]

    def __call__(self) -> float:
        barrier = threading.Barrier(len(self._loops))
        spans: list[tuple[int, int]] = []

        def run(loop: Any) -> None:
            barrier.wait()
            start = perf_counter_ns()
            loop(self._sequence)
            spans.append((start, perf_counter_ns()))

        threads = [threading.Thread(target=run, args=(loop,)) for loop in self._loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = max(end for _, end in spans) - min(start for start, _ in spans)
        return 1_000 * len(threads) * len(self._sequence) / wall


def _row(count: int) -> Row:
    keys = inputs.universe("str", SIZE)
    drawn = inputs.zipf(keys)

    def contender(name: str, peer: str, decorate: peers.Decorate) -> Contender:
        def prepare(context: Context) -> Sampler:
            f = decorate(lambda x: x, SIZE)
            for key in keys:
                f(key)
            return Crowd(f, drawn, count, SAMPLE_NS // (3 if context.quick else 1))

        return Contender(name, prepare, peer)

    plural = "s" if count > 1 else ""
    return Row(
        name=f"threads/{count}",
        title=f"hits a second of {count} thread{plural} on one cache, Zipf over 1,000 str keys",
        contenders=tuple(contender(name, *how) for name, how in peers.DECORATORS.items()),
        unit="Mops/s",
        baseline="lru_cache",
        higher_is_better=True,
        rounds=3,
        per_round=2,
        slow=count in (2, 4),
    )


def rows() -> list[Row]:
    return [_row(count) for count in (1, 2, 4, 8)]
