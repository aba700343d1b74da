"""A program of test_forks.py that opens an Engine, uses it, and forks: as servers do that preload.

Its child says on stdout, a line of JSON each, what it was told to look at; the parent what became
of its own feed. What both do, and in which order, is in `main`.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from millpond import Engine

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 2.0
_SECONDS = 20.0


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited in vain: {what}")
        time.sleep(0.005)


class Program:
    def __init__(self, options: dict[str, Any]) -> None:
        self.mill = Engine(coherence_grace=GRACE, **options).open()
        counts = itertools.count()

        @self.mill.with_cache(namespace="test", tags=("all",), ttl="10m")
        def f(x: int) -> tuple[int, int]:
            return os.getpid(), next(counts)

        self.f = f

    def stats(self) -> dict[str, Any]:
        return {name: one for name, one in self.mill.stats().items() if name != "memory"}

    def coherence(self) -> list[dict[str, Any]]:
        return [one["coherence"] for one in self.stats().values()]

    def heard(self) -> bool:
        return all(one["heard"] for one in self.coherence())


def child(program: Program, ready: int, go: int) -> None:
    forked = time.monotonic()
    program.f(2)
    until(program.heard, "the child's feed is up")
    # The parent's lease, which the child has inherited, has run out by then.
    until(lambda: program.f(2) and time.monotonic() > forked + 1.5 * GRACE, "the lease is over")
    inherited, old = program.f(1), program.f(2)
    assert program.f.cache_contains(1)
    assert program.f.cache_contains(2)
    os.write(ready, b"r")
    os.read(go, 1)
    invalidated = time.monotonic()
    until(lambda: program.f(1) != inherited, "the child sees what it inherited go")
    until(lambda: program.f(2) != old, "the child sees what it loaded go")
    seconds = time.monotonic() - invalidated
    program.mill.close()
    print(json.dumps({"seconds": seconds}), flush=True)
    sys.exit(0)


def main() -> None:
    program = Program(json.loads(sys.argv[1]))
    program.f(1)
    until(program.heard, "the feed is up")
    program.f(1)
    losses = [one["losses"] for one in program.coherence()]
    (ready, child_ready), (child_go, go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        child(program, child_ready, child_go)
    os.close(child_ready)
    if not os.read(ready, 1):
        sys.exit("the child has ended")
    outcome = program.mill.invalidate(tags="all")
    assert outcome.done
    os.write(go, b"g")
    _, status = os.waitpid(pid, 0)
    print(
        json.dumps(
            {
                "status": os.waitstatus_to_exitcode(status),
                "heard": program.heard(),
                "lost": [one["losses"] for one in program.coherence()] != losses,
            }
        ),
        flush=True,
    )
    program.mill.close()


if __name__ == "__main__":
    main()
