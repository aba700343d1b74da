"""`Invalidator`: what `Engine.invalidate` and `Engine.erase` reach, in memory and in tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from millpond import _engine
from millpond.cache import inspection, names, options
from millpond.cache.invalidation import spread
from millpond.cache.patterns import Pattern, pattern_of
from millpond.cache.shared import flow_of
from millpond.cache.stage import Budget
from millpond.cache.steps import Raised
from millpond.cache.unconfirmed import Confirm
from millpond.errors import OptionTypeError, bad_option, bad_option_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.cache._types import Duration
    from millpond.cache.coherence import Holdings
    from millpond.cache.invalidation import Outcome
    from millpond.cache.registry import Registry
    from millpond.cache.stage import Stage
    from millpond.cache.steps import Steps
    from millpond.cache.store import Cache
    from millpond.cache.wiring import Wiring

_NOBODYS: Final = "0" * 32  # a generation that has no stamp
_WAYS: Final = ("tags", "function", "namespace", "prefix", "glob", "regex")


@final
class Invalidator:
    """Finds what is meant, and tells memory and tiers.

    Args:
        stages: the tiers, the fastest first.
        holdings: what memory holds of them.
        registry: the functions of the Engine, also those that stay in memory.
        wiring: gives their names.
        cache: the Engine's own.
    """

    __slots__ = ("_cache", "_holdings", "_registry", "_stages", "_wiring")

    def __init__(
        self,
        stages: Sequence[Stage],
        holdings: Holdings,
        registry: Registry,
        wiring: Wiring,
        cache: Cache,
    ) -> None:
        self._stages = tuple(stages)
        self._holdings = holdings
        self._registry = registry
        self._wiring = wiring
        self._cache = cache

    def steps(
        self, given: dict[str, Any], confirm: tuple[int, Duration], find: Callable[..., Any]
    ) -> Steps:
        """The steps of an invalidation.

        Args:
            given: what `Engine.invalidate` was given.
            confirm: how many replicas have to have it, and how long they may take.
            find: `inspection.prefixes`, or `aprefixes` in an event loop.
        """
        ways = [way for way in _WAYS if given[way] is not None]
        if len(ways) != 1:
            raise OptionTypeError(f"invalidate: give exactly one of {'=, '.join(_WAYS)}=")
        [way] = ways
        asked = self._confirm(*confirm)
        if way == "tags":
            return self._tags(given[way], asked)
        if way == "function":
            return self._function(given[way], asked)
        if way == "namespace":
            return self._namespace(str(given[way]), asked)
        return self._pattern(pattern_of(way, given[way]), find, asked)

    def _confirm(self, replicas: Any, within: Duration) -> Confirm:
        allowed = "a whole number >= 0 of replicas"
        if isinstance(replicas, bool) or not isinstance(replicas, int):
            raise bad_option_type("confirm", replicas, allowed)
        if not 0 <= replicas < 2**31:
            raise bad_option("confirm", replicas, allowed)
        nanos = options.life(within, "confirm_timeout")
        if nanos == options.NO_LIMIT:
            raise bad_option("confirm_timeout", within, "a time; nobody waits for ever")
        if replicas and not any(stage.unconfirmed is not None for stage in self._stages):
            have = ", ".join(stage.tier.name for stage in self._stages) or "none but memory"
            raise bad_option(
                "confirm", replicas, f"0, for no tier has replicas that say it: {have}"
            )
        return Confirm(replicas, nanos / 1e9)

    def _tags(self, given: Any, confirm: Confirm) -> Steps:
        texts = options.tags(given)
        every = (texts,) if isinstance(texts, str) else texts

        def here() -> int:
            return sum(cache.invalidate(tags=every) for cache in self._memories())

        return spread(self._stages, "bump", names.tags(every), here, confirm)

    def _function(self, function: Any, confirm: Confirm) -> Steps:
        if not isinstance(function, _engine.Function):
            raise OptionTypeError(f"function={function!r}: give a function behind with_cache")
        flow = flow_of(function)
        stages: Sequence[Stage] = () if flow is None else flow.stages
        generations = [] if flow is None else [flow.name.generations[1]]
        return spread(stages, "bump", generations, lambda: _dropped([function]), confirm)

    def _namespace(self, namespace: str, confirm: Confirm) -> Steps:
        wanted = _engine.generation_name("n", namespace)
        return spread(
            self._stages,
            "bump",
            [wanted],
            lambda: _dropped(self._holdings.functions(wanted)),
            confirm,
        )

    def _pattern(self, pattern: Pattern, find: Callable[..., Any], confirm: Confirm) -> Steps:
        """Functions and caches by their names: those that this process has, and those of others.

        The names of others are looked for in the tiers before anything is told. Who comes with a
        new name later has left it there before it loads (`Flow.mark`), so its load began later.
        """
        asked: list[Stage] = []
        for stage in self._stages:
            # A scan may take long, and so may one that nobody answers.
            answer = yield stage, "fetch", (Budget(stage.tier.timeout), [], [_NOBODYS])
            if answer is not None:
                asked.append(stage)
        found = yield None, find, ((pattern.literal, asked), {})
        if type(found) is Raised:
            return found
        known, heard = found
        prefixes = {prefix for prefix in known if pattern.matches(prefix)}
        prefixes |= {
            flow.name.prefix
            for function in self._holdings.functions()
            if (flow := flow_of(function)) is not None and pattern.matches(flow.name.prefix)
        }
        generations = [_engine.generation_name("f", prefix) for prefix in sorted(prefixes)]

        def here() -> int:
            functions = {*self._registry.functions, *self._holdings.functions()}
            return _dropped([one for one in functions if pattern.matches(self._prefix(one))])

        outcome: Outcome = yield from spread(self._stages, "bump", generations, here, confirm)
        for stage in self._stages:
            if stage not in heard:
                outcome.tiers[stage.tier.name] = "failed"
        return outcome

    def _prefix(self, function: _engine.Function) -> str:
        flow = flow_of(function)
        return self._wiring.name(function).prefix if flow is None else flow.name.prefix

    def _memories(self) -> list[Cache]:
        return list({self._cache, *self._holdings.caches()})

    def erase(self, tag: str | None, tenant: str | None, owner: str | None) -> dict[str, int]:
        """Removes bytes; how many entries, by tier."""
        given = {"tag": tag, "tenant": tenant, "owner": owner}
        chosen = [(way, text) for way, text in given.items() if text is not None]
        if len(chosen) != 1:
            raise OptionTypeError("erase: give exactly one of tag=, tenant=, owner=")
        [(way, text)] = chosen
        full = text if way == "tag" else f"{way}:{text}"
        memory = sum(cache.invalidate(tags=full) for cache in self._memories())
        spaces = {names.quoted(self._wiring.namespace), *self._holdings.namespace_texts()}
        removed = inspection.erase(full, sorted(spaces), self._stages)
        memory += sum(cache.invalidate(tags=full) for cache in self._memories())
        return {"memory": memory, **removed}


def _dropped(functions: Sequence[_engine.Function]) -> int:
    """Drops all that functions hold in memory; how much that was."""
    removed = 0
    for function in functions:
        removed += function.cache_info().currsize
        function._drop_entries()
    return removed
