"""The way down: what a tier has of what is wanted, and the stamps that a fill has to carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, final

from millpond import _engine
from millpond.cache.invalidation import replay
from millpond.cache.marks import Marks
from millpond.cache.turn import SEEN

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from millpond.cache.names import Name
    from millpond.cache.rules import Rules
    from millpond.cache.stage import Budget, Stage
    from millpond.cache.steps import Steps
    from millpond.io.codecs import Codec
    from millpond.tiers.base import Fetched

    # What the engine's first look has found: what the tier gave, None if nothing; how the entry
    # begins that is of no use, None if it was not read; the seconds that it took; a value past its
    # life, which is of use only if the load fails.
    First = tuple[Fetched | None, bytes | None, float, _engine.Loaded | None]


class Look(NamedTuple):
    """What a stage said on the way down, which a fill on the way up must carry.

    `seen` is how the entry begins that was found but is of no use. `past` has, by key, the values
    past their life that are served if the load fails.
    """

    stage: Stage
    guards: dict[str, int]  # by key
    stamps: list[tuple[str, int]]
    seen: bytes = b""
    past: Mapping[str, _engine.Loaded] = {}


@final
class Looks:
    """Looks of one function or cache into its tiers.

    Args:
        stages: the tiers.
        codec: between values and bytes.
        name: of the function or cache.
        rules: of it.
        strict: whether an entry has to carry every generation of its call. An earlier release of a
            program may have stored it without a tag that it has by now.
    """

    __slots__ = ("_marks", "_ttl", "readers")

    def __init__(
        self, stages: Sequence[Stage], codec: Codec, name: Name, rules: Rules, *, strict: bool
    ) -> None:
        monitors = tuple([stage.monitor for stage in stages])
        self.readers = {
            stage: _engine.EntryReader(
                stage.monitor,
                stage.source,
                stage.now,
                monitors,
                codec.terms,
                codec.opened,
                rules.stale_while,
                rules.stale_if,
                strict,
            )
            for stage in stages
        }
        self._marks = Marks(name.prefix)
        self._ttl = rules.memory_ttl

    def stamps(self, stage: Stage, names: list[str], budget: Budget) -> Steps:
        """The look of a stage that is not to be read; None if it did not answer."""
        if len(stage.journal) and not (yield from replay(stage, budget)):
            return None
        yield from self._marks.leave(stage, budget)
        stamps = yield stage, "stamp", (budget, names)
        return None if stamps is None else Look(stage, {}, list(zip(names, stamps, strict=True)))

    def look(
        self,
        stage: Stage,
        keys: list[str],
        names: list[str],
        budget: Budget,
        first: First | None = None,
        *,
        store: bool = True,
        anew: bool = False,
    ) -> Steps:
        """(what the stage has by key, the look for filling it with the rest or None).

        Args:
            stage: the tier.
            keys: of the entries.
            names: the generations of the call, of the namespace and the function to begin with.
            budget: of the call.
            first: what the engine has found already.
            store: whether memory keeps what is found.
            anew: whether what is past its life is about to be loaded anew.
        """
        fetched, seen = first[:2] if first else (None, None)
        if first is None:
            if len(stage.journal) and not (yield from replay(stage, budget)):
                return {}, None
            fetched = yield stage, "fetch", (budget, keys, names)
        if fetched is None:
            return {}, None
        found: dict[str, _engine.Loaded] = {}
        past: dict[str, _engine.Loaded] = {}
        if seen is None:
            found, seen, past = yield from self._read(
                stage, keys, names, fetched, budget, store=store, anew=anew
            )
        elif first is not None and first[3] is not None:
            past = {keys[0]: first[3]}
        if len(found) == len(keys):
            return found, None
        _, guards, stamps = fetched
        known = dict(zip(names, stamps, strict=True))
        yield from self._marks.leave(stage, budget, lost=known[names[1]] is None)
        missing = [name for name in names if known[name] is None]
        if missing:
            made = yield stage, "stamp", (budget, missing)
            if made is None:
                return found, None
            known |= zip(missing, made, strict=True)
        pairs = [(name, at) for name in names if (at := known[name]) is not None]
        return found, Look(stage, dict(zip(keys, guards, strict=True)), pairs, seen[:SEEN], past)

    def _read(
        self,
        stage: Stage,
        keys: list[str],
        names: list[str],
        fetched: Fetched,
        budget: Budget,
        *,
        store: bool,
        anew: bool,
    ) -> Generator[Any, Any, tuple[dict[str, _engine.Loaded], bytes, dict[str, _engine.Loaded]]]:
        """What is good of what a stage gave; an entry that is not, or b""; what is past."""
        read = self.readers[stage].read
        data, _, stamps = fetched
        present = (names, stamps)
        how = (self._ttl, store, anew)
        found, seen, later, unknown, past = read(keys, data, present, None, *how)
        if later:
            # Tags that only the values know: a second trip.
            others = [*dict.fromkeys(unknown)]
            more: Fetched | None = yield stage, "fetch", (budget, [], others)
            if more is not None:
                had = dict(zip(keys, data, strict=True))
                entries = [had[key] for key in later]
                also = read(later, entries, present, (others, more.stamps), *how)
                found |= also[0]
                seen = also[1] or seen
                past |= also[4]
        return found, seen, past
