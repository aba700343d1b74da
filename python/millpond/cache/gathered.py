"""`Gathered`: the calls of a list, which ask the tiers together and fill them together.

Each call goes its own way (`flow.py`), under a flight of its own. What it asks a tier is asked for
all calls of the list by the first of them, and the others find the answer here. What they store is
put aside, and stored at once for many. A load under a lease is stored by itself: others wait for
it.

An answer that is used later than it came could be old by then. So it counts for half a second, and
only while this process has neither invalidated anything in that tier nor heard of it.

A tier that does not answer for all calls in the time of one (their values may be large) is asked
for each by itself from then on.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

from millpond.cache.stage import Budget
from millpond.io import forks
from millpond.tiers.base import Fetched

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from millpond.cache.flow import Flow
    from millpond.cache.stage import Stage
    from millpond.tiers.base import Entry

# The list whose calls are being made; None: each asks for itself.
gathering: ContextVar[Gathered | None] = ContextVar("millpond-gathering", default=None)
_MOST: Final = 500  # keys that are asked for, and entries that are stored, at once
_MOST_BYTES: Final = 4 << 20
_GOOD: Final = 0.5  # seconds that an answer counts
_ASIDE: Final = 0.05  # that an entry is put aside, if other calls do not take longer


class _Asked:
    """What one stage has answered, and what it is to store."""

    def __init__(self, keys: dict[str, tuple[str, ...]]) -> None:
        self.left = dict(keys)  # those that were not asked for
        self.found: dict[str, tuple[bytes | None, int]] = {}
        self.stamps: dict[str, int | None] = {}
        self.until = 0.0
        self.changes = -1
        self.alone = False  # It gave no answer: each call asks for itself.

    def is_good(self, stage: Stage) -> bool:
        return monotonic() < self.until and stage.changes == self.changes


@final
class Gathered:
    """The calls of one function.

    Args:
        flow: its tiers.
        calls: the generations of the tags of each call, by its key.
    """

    def __init__(self, flow: Flow, calls: dict[str, tuple[str, ...]]) -> None:
        self._flow = flow
        self._calls = calls
        self._asked = {stage: _Asked(calls) for stage in flow.stages}
        self._aside: dict[Stage, list[Entry]] = {}
        self._put: set[str] = set()
        self._bytes = 0
        self._since = 0.0
        self._thread = threading.get_ident()
        self._over = False
        self._lock: Any = None  # an asyncio.Lock: one task asks, and the others wait for it

    def ask(self, stage: Stage, op: Any, args: tuple[Any, ...]) -> Any:
        """`Stage.ask`, for all calls at once where it is asked for one of them."""
        if not self._is_ours(stage, op, args):
            return stage.ask(args[0], op, *args[1:])
        if op == "store":
            if self._put_aside(stage, args[1]):
                self.fill()
            return [True] * len(args[1])
        if op == "fetch" and args[1][0] in self._put:
            self.fill()
        answer = self._answer(stage, op, args)
        if answer is None:
            budget, *rest = self._question(stage, op, args)
            self._learn(stage, op, rest, stage.ask(budget, op, *rest))
            answer = self._answer(stage, op, args) or stage.ask(args[0], op, *args[1:])
        return answer

    async def aask(self, stage: Stage, op: Any, args: tuple[Any, ...]) -> Any:
        """The same in an event loop."""
        if not self._is_ours(stage, op, args):
            return await stage.aask(args[0], op, *args[1:])
        if op == "store":
            if self._put_aside(stage, args[1]):
                await self.afill()
            return [True] * len(args[1])
        if op == "fetch" and args[1][0] in self._put:
            await self.afill()
        if self._lock is None:
            import asyncio

            self._lock = asyncio.Lock()
        since = monotonic()
        async with self._lock:
            waited = monotonic() - since
            alone = self._asked[stage].alone
            answer = None if alone else self._answer(stage, op, args)
            if answer is None and not alone:
                budget, *rest = self._question(stage, op, args)
                self._learn(stage, op, rest, await stage.aask(budget, op, *rest))
                answer = self._answer(stage, op, args)
        if alone:
            args[0].left -= waited  # For an answer that did not come.
        return answer or await stage.aask(args[0], op, *args[1:])

    def end(self) -> None:
        """The list is over: its last calls, which may load what is past its life beside it or for
        others, ask and store by themselves. What was put aside is to be stored next."""
        self._over = True

    def fill(self) -> None:
        """Store what was put aside, in the slowest tier first."""
        budget = Budget(self._flow.budget)
        for stage, entries in self._taken():
            self._stored(stage, stage.ask(budget, "store", entries))

    async def afill(self) -> None:
        """The same in an event loop."""
        budget = Budget(self._flow.budget)
        for stage, entries in self._taken():
            self._stored(stage, await stage.aask(budget, "store", entries))

    # ---- What is asked

    def _is_ours(self, stage: Stage, op: Any, args: tuple[Any, ...]) -> bool:
        if self._over or stage not in self._asked or threading.get_ident() != self._thread:
            return False
        if op == "fetch":
            alone = self._asked[stage].alone
            return not alone and len(args[1]) == 1 and args[1][0] in self._calls
        if op == "stamp":
            return self._asked[stage].is_good(stage) and all(
                name in self._asked[stage].stamps for name in args[1]
            )
        # Who waits for a value that is loaded under a lease is not to wait for others.
        return op == "store" and all(not e.fence and e.key in self._calls for e in args[1])

    def _question(self, stage: Stage, op: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        asked = self._asked[stage]
        if op == "stamp":
            return args[0], [name for name, stamp in asked.stamps.items() if stamp is None]
        first = args[1][0]
        if asked.changes >= 0 and not asked.is_good(stage):
            # What is left of the answers is of no use.
            asked.left = {key: self._calls[key] for key in asked.found} | asked.left
            asked.found.clear()
        asked.left.pop(first, None)
        asked.changes = stage.changes
        keys = [first, *islice(asked.left, _MOST - 1)]
        tags = dict.fromkeys(tag for key in keys for tag in self._calls[key])
        return args[0], keys, [*self._flow.name.generations, *tags]

    def _learn(self, stage: Stage, op: Any, rest: Sequence[Any], answer: Any) -> None:
        asked = self._asked[stage]
        if answer is None:
            asked.alone = True
            return
        if op == "stamp":
            asked.stamps |= zip(rest[0], answer, strict=True)
            return
        keys, names = rest
        for key, data, guard in zip(keys, answer.data, answer.guards, strict=True):
            asked.found[key] = (data, guard)
            asked.left.pop(key, None)
        asked.stamps = dict(zip(names, answer.stamps, strict=True))
        asked.until = monotonic() + _GOOD

    def _answer(self, stage: Stage, op: Any, args: tuple[Any, ...]) -> Any:
        asked = self._asked[stage]
        if not asked.is_good(stage):
            return None
        if op == "stamp":
            made = [asked.stamps[name] for name in args[1]]
            return None if None in made else made
        found = asked.found.pop(args[1][0], None)
        if found is None or any(name not in asked.stamps for name in args[2]):
            return None
        return Fetched([found[0]], [found[1]], [asked.stamps[name] for name in args[2]])

    # ---- What is stored

    def _put_aside(self, stage: Stage, entries: Sequence[Entry]) -> bool:
        """Whether it is time to store what there is."""
        if not self._aside:
            self._since = monotonic()
        kept = self._aside.setdefault(stage, [])
        kept += entries
        self._bytes += sum(len(entry.data) for entry in entries)
        self._put |= {entry.key for entry in entries}
        late = monotonic() - self._since > _ASIDE
        return late or len(kept) >= _MOST or self._bytes >= _MOST_BYTES

    def _taken(self) -> list[tuple[Stage, list[Entry]]]:
        aside, self._aside, self._bytes = self._aside, {}, 0
        self._put.clear()
        return [(one, aside[one]) for one in reversed(self._flow.stages) if one in aside]

    def _stored(self, stage: Stage, done: list[bool] | None) -> None:
        if done is not None and not all(done):
            stage.monitor.count("fill_refused", done.count(False))


@final
class _Lists:
    """Functions whose calls come to the flow at once, and for how many lists."""

    def __init__(self) -> None:
        self.forked()
        forks.tell(self)

    def forked(self) -> None:
        self.lock = threading.Lock()
        self.counts: dict[Any, int] = {}


_lists: Final = _Lists()


@contextmanager
def asking_together(function: Any, flow: Flow) -> Generator[None]:
    """Meanwhile the engine makes no first look for calls of the function: that is for one alone."""
    load = function._flow()
    with _lists.lock:
        _lists.counts[function] = _lists.counts.get(function, 0) + 1
        function._set_flow(load, flow.name.prefix, None)
    try:
        yield
    finally:
        with _lists.lock:
            left = _lists.counts.pop(function, 1) - 1
            if left > 0:
                _lists.counts[function] = left
            elif function._flow() is load:
                function._set_flow(load, flow.name.prefix, flow.first())
