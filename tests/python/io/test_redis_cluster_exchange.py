"""A batch for several nodes of a Cluster that is interrupted; no server is asked."""

from __future__ import annotations

import math
from typing import Any

import pytest

from millpond.io.redis import Command
from millpond.io.redis_cluster import SLOTS, Cluster
from millpond.io.redis_url import RedisSettings


class Node:
    """A node, its pool, and what was started there."""

    def __init__(self, interrupted: str = "") -> None:
        self.interrupted = interrupted
        self.abandoned = 0

    @property
    def pool(self) -> Node:
        return self

    def start(self, *_: Any) -> Node:
        if self.interrupted == "start":
            raise KeyboardInterrupt
        return self

    def finish(self) -> list[Any]:
        if self.interrupted == "finish":
            raise KeyboardInterrupt
        return [None]

    def abandon(self) -> None:
        self.abandoned += 1


@pytest.mark.parametrize("moment", ["start", "finish"])
def test_an_interrupt_leaves_no_connection_in_use(moment: str) -> None:
    cluster = Cluster(RedisSettings(nodes=(("127.0.0.1", 1),)))
    asked_first = Node("finish" if moment == "finish" else "")
    asked_then = Node("start" if moment == "start" else "")
    nodes: list[Any] = [asked_then, asked_first]
    cluster._slots = [nodes[slot % 2] for slot in range(SLOTS)]
    keys = [b"a", b"b"]  # in slots 15495 and 3300
    with pytest.raises(KeyboardInterrupt):
        cluster.run([Command(key, b"") for key in keys], math.inf)
    # Who is interrupted gives up its own connection.
    left = {"start": asked_first, "finish": asked_then}[moment]
    assert left.abandoned == 1
    assert asked_first.abandoned + asked_then.abandoned == 1
