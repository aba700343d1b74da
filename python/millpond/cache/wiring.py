"""`Wiring`: what gives functions and caches the tiers of one Engine."""

from __future__ import annotations

import threading
from collections.abc import Set
from typing import TYPE_CHECKING, Any, Final, final

from millpond import _engine
from millpond.cache import decorator, freshness, inspection, names, options
from millpond.cache.flow import Flow
from millpond.cache.leases import Keeper
from millpond.cache.rules import Rules
from millpond.cache.stage import Stage
from millpond.cache.store import Cache
from millpond.cache.tiered import TieredCache
from millpond.cache.unconfirmed import Unconfirmed
from millpond.errors import ConfigurationError, OptionTypeError, bad_option_type
from millpond.io import forks
from millpond.io.codecs import Codec
from millpond.tiers.base import Leases, Replicated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from millpond.cache._types import Duration
    from millpond.cache.coherence import Holdings
    from millpond.cache.listening import Listening
    from millpond.tiers.base import Tier


# Seconds that a value lives in a tier when its function says nothing.
_DEFAULT_TTL: Final = {"redis": 3600.0, "sqlite": 86400.0, "postgresql": 86400.0}
_OTHER_TTL: Final = 3600.0


def stage_of(tier: Tier) -> Stage:
    """A tier with its breaker, its statistics, and the keeper of its leases if it has any."""
    ttl = _DEFAULT_TTL.get(tier.name, _OTHER_TTL)
    stage = Stage(tier, _engine.TierMonitor(tier.name), default_ttl=ttl)
    if isinstance(tier, Leases):
        stage.keeper = Keeper(stage, tier)
    if isinstance(tier, Replicated):
        stage.unconfirmed = Unconfirmed()
    return stage


@final
class Wiring:
    """The parts of an Engine that a function needs.

    Args:
        namespace: the Engine's own; None where it was not given one.
        stages: the tiers behind the memory, the fastest first.
        holdings: what memory holds of them.
        budget: seconds that a call may spend on tiers.
        codec_options: of every codec.
        signing_secret: of those that pickle.
        listening: begun before a tier is asked.
    """

    def __init__(
        self,
        namespace: str | None,
        stages: tuple[Stage, ...],
        holdings: Holdings,
        *,
        budget: float,
        codec_options: dict[str, Any],
        signing_secret: Any,
        listening: Listening,
    ) -> None:
        self.own_namespace = namespace
        self.namespace = namespace or names.DEFAULT_NAMESPACE
        self.stages = stages
        self.holdings = holdings
        self._budget = budget
        self._codec_options = codec_options
        self._signing_secret = signing_secret
        self._listening = listening

    def attach(self, function: Any) -> None:
        """Give a function behind `with_cache` its tiers.

        Raises:
            ConfigurationError: its name may be another program's too.
        """
        given = function.cache_parameters()
        stages = self._chosen(given["tiers"])
        if not stages:
            return
        name = self.name(function, checked=True)
        flow = Flow(
            name,
            function.__wrapped__,
            stages=stages,
            codec=self._codec(given["codec"], _annotation(function)),
            rules=_rules(given),
            budget=self._budget,
            listening=self._listening,
            lock=bool(given["lock"]),
            hidden=freshness.reporter(function),
            # Tasks have timeouts of their own, as in memory.
            patience=None
            if given["asynchronous"]
            else _seconds(given["wait_timeout"], "wait_timeout"),
        )
        load = flow.aload if given["asynchronous"] else flow.load
        function._set_flow(load, name.prefix, flow.first())
        self.holdings.add(function, flow, given["cache"])

    def name(self, function: Any, *, checked: bool = False) -> names.Name:
        """What a function is called in tiers, or would be.

        Raises:
            ConfigurationError: where that is to be `checked`, its name may be another program's
                too.
        """
        given = function.cache_parameters()
        own = given["namespace"] is not None or given["key"] is not None
        return names.name_of(
            given["namespace"] or self.namespace,
            names.function_name(
                function.__wrapped__,
                named=own or not checked,
                own_program=self.own_namespace is not None,
            ),
            given["version"],
        )

    def cache(
        self,
        name: str,
        memory: Cache,
        rules: Rules,
        *,
        version: str | int,
        tiers: Sequence[str] | None,
        codec: str,
        lock: bool,
    ) -> TieredCache:
        """A cache by name, in front of which `memory` stands."""
        made = TieredCache(
            names.name_of(self.namespace, f"cache.{name}", version),
            memory,
            stages=self._chosen(tiers),
            codec=self._codec(codec, None),
            rules=rules,
            budget=self._budget,
            listening=self._listening,
            lock=lock,
        )
        made.hold(self.holdings)
        return made

    def _codec(self, codec: Any, annotation: Any) -> Codec:
        secret = self._signing_secret if codec == "pickle" else None
        return Codec(annotation, codec=codec, secret=secret, **self._codec_options)

    def _chosen(self, wanted: Collection[str] | None) -> tuple[Stage, ...]:
        """Those of the names, in their order; in the Engine's where they have none."""
        if wanted is None:
            return self.stages
        by_name = {stage.tier.name: stage for stage in self.stages}
        unknown = [name for name in wanted if name != "memory" and name not in by_name]
        if unknown:
            raise ConfigurationError(
                f"tiers={tuple(wanted)!r}: this Engine has {', '.join(['memory', *by_name])}"
            )
        if len({*wanted}) != len(wanted):
            raise ConfigurationError(f"tiers={tuple(wanted)!r}: one is there twice")
        if isinstance(wanted, Set):
            return tuple(stage for stage in self.stages if stage.tier.name in wanted)
        return tuple(by_name[name] for name in wanted if name != "memory")


@final
class Caches:
    """`Engine.cache`: caches by name, and a look at what is stored."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._lock = threading.Lock()
        # By name and version, with the options that each was made with.
        self._caches: dict[tuple[str, str], tuple[TieredCache, dict[str, Any]]] = {}
        forks.tell(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def __call__(
        self,
        name: str,
        *,
        ttl: Duration | None = options.UNSET,
        version: str | int = 1,
        max_entries: int | None = None,
        max_bytes: int | str | None = "64MiB",
        tiers: Sequence[str] | None = None,
        codec: str = "auto",
        lock: bool = True,
    ) -> TieredCache:
        """A cache by name, which every process that names it shares.

        Args:
            name: what it is called in tiers. The same name and version give the same cache, and
                where it is there the other options may be left out.
            ttl: how long a value lives; 5 minutes in memory, an hour in Redis and a day in a
                database unless given.
            version: another version has other entries.
            max_entries: the most entries in memory.
            max_bytes: the most bytes in memory.
            tiers: names of the tiers to use; all unless given.
            codec: how values become bytes: "auto", "tagged" or "pickle".
            lock: whether processes that share a tier make one load between them.

        Raises:
            ConfigurationError: it is there, and was made with other options.
        """
        asked = options.name(name, "name")
        if asked is None:
            raise OptionTypeError("name=None: give a str")
        chosen = None if tiers is None else tuple(tiers)
        given = {"ttl": ttl, "max_entries": max_entries, "max_bytes": max_bytes, "tiers": chosen}
        given |= {"codec": codec, "lock": bool(lock)}
        with self._lock:
            made, first = self._caches.get((asked, str(version)), (None, given))
            if made is None:
                rules = _rules({**_NO_RULES, "ttl": ttl, "ttl_given": ttl is not options.UNSET})
                memory = Cache(max_entries=max_entries, max_bytes=max_bytes, ttl=rules.memory_ttl)
                made = self._wiring.cache(
                    asked,
                    memory,
                    rules,
                    version=version,
                    tiers=chosen,
                    codec=codec,
                    lock=bool(lock),
                )
                self._caches[asked, str(version)] = made, given
        others = [one for one in given if given[one] not in (first[one], _UNGIVEN[one])]
        if others:
            raise ConfigurationError(
                f"cache {asked!r}: {', '.join(others)}: it is there, and was made with others"
            )
        return made

    def inspect(self, key: str) -> list[inspection.View]:
        """What memory and each tier has under a key, as `scan` gives it.

        Raises:
            TierError: a tier did not answer.
        """
        _check_text(key, "key")
        return inspection.views(key, self._wiring.stages, self._wiring.holdings)

    def scan(self, prefix: str) -> Iterator[str]:
        """The keys in all tiers that begin with `prefix`: "{namespace}:{name}:{version}:{hash}".

        Raises:
            TierError: a tier did not answer.
        """
        _check_text(prefix, "prefix")
        return inspection.scan(prefix, self._wiring.stages)


def _check_text(given: object, name: str) -> None:
    if not isinstance(given, str):
        raise bad_option_type(
            name, given, 'a str: "{namespace}:{name}:{version}:{hash}", or how that begins'
        )


# The options of a cache where they are not given.
_UNGIVEN: Final[dict[str, Any]] = {
    "ttl": options.UNSET,
    "max_entries": None,
    "max_bytes": "64MiB",
    "tiers": None,
    "codec": "auto",
    "lock": True,
}
_NO_RULES: dict[str, Any] = {"negative_ttl": None, "cache_none": True, "condition": None}


def _rules(given: dict[str, Any]) -> Rules:
    ttl = _seconds(given["ttl"], "ttl") if given["ttl_given"] else None
    return Rules(
        ttl=ttl,
        memory_ttl=ttl if given["ttl_given"] else float(decorator.DEFAULT_TTL),
        negative_ttl=_seconds(given["negative_ttl"], "negative_ttl"),
        cache_none=bool(given["cache_none"]),
        condition=given["condition"],
        cost=given.get("cost") or 0.0,
        stale_while=_stale(given, "stale_while_revalidate"),
        stale_if=_stale(given, "stale_if_error"),
    )


def _seconds(life: Any, option: str) -> float | None:
    nanos = options.life(life, option)
    return None if nanos == options.NO_LIMIT else nanos / 1e9


def _stale(given: dict[str, Any], option: str) -> float:
    if given.get(option) is None:
        return 0.0
    return _seconds(given[option], option) or 0.0


def _annotation(function: Any) -> Any:
    """The type that a function says it returns; None where that cannot be known."""
    import typing

    try:
        return typing.get_type_hints(function.__wrapped__).get("return")
    except Exception:  # noqa: BLE001 (an annotation may name what only checkers import)
        return None
