"""`Engine`: the composition root. It wires memory, tiers and functions together."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, Final, final

from millpond.cache import decorator, inspection, names, options, registry
from millpond.cache.coherence import Coherence, Holdings
from millpond.cache.invalidation import Outcome, replay_directly
from millpond.cache.invalidator import Invalidator
from millpond.cache.listening import Listening
from millpond.cache.prober import Prober
from millpond.cache.registry import Registry
from millpond.cache.steps import adrive, drive
from millpond.cache.store import Cache, default_cache
from millpond.cache.wiring import Caches, Wiring, stage_of
from millpond.errors import ConfigurationError, bad_option
from millpond.io.deadline import Deadline
from millpond.io.encryption import Keyring
from millpond.tiers.base import Feed, Logged, Replicated
from millpond.tiers.choose import tiers_of

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from millpond.cache._types import Duration, WithCache
    from millpond.cache.stage import Stage
    from millpond.io.redis_url import RedisSettings
    from millpond.tiers.base import Tier

_log = logging.getLogger("millpond")

_OPEN_SECONDS: Final = 5.0


@final
class Engine:
    """Memory, and the tiers behind it, for the functions and caches of a program.

    Nothing is opened until it is needed, or `open` is called, or a `with` block begins.

    Args:
        redis: a URL such as "redis://localhost:6379/0", RedisSettings, or a Tier of your own.
        database: a URL "postgresql://…" (with "?pgbouncer=true" behind such a pooler), a Tier of
            your own, or False for none. A file in `data_dir` unless given.
        namespace: the name of your program where it shares a tier with others.
        cache: the Cache to keep values in; one of `max_bytes` unless given.
        max_bytes: the most bytes in memory, an int or "64MiB".
        data_dir: the folder for files. MILLPOND_DATA, or the user's cache folder, unless given.
        budget: how long a call may take longer than its function, for all tiers together.
        coherence_grace: how long memory may be trusted after a tier that tells of invalidations
            was last heard of.
        max_value_bytes: the largest value that is brought to a tier.
        compress: whether values above 1 KiB are compressed where that saves a tenth.
        encryption_keys: keys of AES that encrypt what is brought to tiers: 16, 24 or 32 bytes each,
            or base64 of as many. The first encrypts, each decrypts.
        signing_secret: signs the pickles of functions with codec="pickle".

    Raises:
        ConfigurationError, OptionTypeError: an option is outside what is allowed.
        MissingExtraError: a tier needs a package that is not installed.

    Example:
        >>> with Engine(database=False) as mill:
        ...     @mill.with_cache(ttl="10m")
        ...     def square(x: int) -> int:
        ...         return x * x
        ...     square(4), square(4)
        (16, 16)
    """

    def __init__(
        self,
        *,
        redis: str | RedisSettings | Tier | None = None,
        database: str | Tier | bool | None = None,
        namespace: str | None = None,
        cache: Cache | None = None,
        max_bytes: int | str | None = "256MiB",
        data_dir: str | None = None,
        budget: Duration = 0.1,
        coherence_grace: Duration = 5.0,
        max_value_bytes: int | str = "16MiB",
        compress: bool = True,
        encryption_keys: Sequence[bytes | str] | None = None,
        signing_secret: bytes | str | Sequence[bytes | str] | None = None,
    ) -> None:
        self._cache = _cache(cache, max_bytes)
        self._grace = options.life(coherence_grace, "coherence_grace") / 1e9
        tiers = tiers_of(redis, database, data_dir, namespace or names.DEFAULT_NAMESPACE)
        self._stages = tuple(stage_of(tier) for tier in tiers)
        self._holdings = Holdings()
        self._coherence = {
            stage: Coherence(stage, self._holdings, self._grace)
            for stage in self._stages
            if isinstance(stage.tier, Feed | Logged)
        }
        self._prober = Prober(self._stages, self._returned)
        for place, stage in enumerate(self._stages):
            stage.faster = self._stages[:place]
            stage.drop = self._drop
            stage.namespaces = self._holdings.namespaces
        self._listening = Listening([*self._coherence.values()], self._holdings, self._prober)
        for stage in self._stages:
            stage.opened = self._listening.probe
        self._wiring = Wiring(
            options.name(namespace, "namespace"),
            self._stages,
            self._holdings,
            budget=options.life(budget, "budget") / 1e9,
            codec_options={
                "max_value_bytes": options.size(max_value_bytes, "max_value_bytes"),
                "compress": bool(compress),
                "keyring": None if encryption_keys is None else Keyring(encryption_keys),
            },
            signing_secret=signing_secret,
            listening=self._listening,
        )
        self._registry = Registry(lambda: self._cache)
        self._registry.attach_with(self.attach)
        self._invalidator = Invalidator(
            self._stages, self._holdings, self._registry, self._wiring, self._cache
        )
        self.cache = Caches(self._wiring)
        self.with_cache: WithCache = _decorator_of(self._registry)

    # ---- Its life

    def open(self) -> Self:
        """Connect to every tier now, not at the first call; one that is out is passed by."""
        self._listening.begin()
        for stage in self._stages:
            ticket = stage.monitor.begin("fetch")
            if ticket >= 0:
                try:
                    stage.tier.open(Deadline.after(_OPEN_SECONDS))
                except Exception as error:  # noqa: BLE001 (counted and logged there)
                    stage.failed(ticket, "open", error)
                else:
                    stage.monitor.end(ticket)
        return self

    def close(self) -> None:
        """Give back connections, files and threads. It may be opened and used again."""
        with ExitStack() as closing:  # Of all of them, also where one raises.
            for stage in reversed(self._stages):
                closing.callback(stage.tier.close)
            self._silence()

    async def aclose(self) -> None:
        """The same in an event loop, whose own connections it gives back too."""
        import asyncio

        async with AsyncExitStack() as closing:
            for stage in reversed(self._stages):
                closing.push_async_callback(stage.tier.aclose)
            await asyncio.to_thread(self._silence)

    def _silence(self) -> None:
        for stage in self._stages:
            if stage.keeper is not None:
                stage.keeper.close()
        self._listening.end()
        self._prober.close()  # The last: what was told just now may have found a tier to be out.

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        import asyncio

        return await asyncio.to_thread(self.open)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @classmethod
    def from_env(cls, **given: Any) -> Engine:
        """An Engine as the environment says, for what is not given here.

        MILLPOND_REDIS, MILLPOND_DATABASE and MILLPOND_ with the name of any other option; then the
        names that people have: REDIS_URL, or REDIS_HOST, REDIS_PORT, REDIS_USERNAME,
        REDIS_PASSWORD, REDIS_DB, REDIS_CLUSTER_ENABLED and REDIS_CLUSTER_NODES; DATABASE_URL, if it
        is a PostgreSQL's. ENABLE_REDIS_CACHING=false leaves Redis out.

        Raises:
            ConfigurationError: a variable has a value outside what is allowed.
            MissingExtraError: pydantic-settings is not installed: millpond[settings].
        """
        from millpond.io import environment

        return cls(**{**environment.read().options, **given})

    def tier(self, name: str) -> Tier:
        """The tier of that name, for what only it can do.

        Raises:
            ConfigurationError: there is none.
        """
        for stage in self._stages:
            if stage.tier.name == name:
                return stage.tier
        raise bad_option(
            "tier", name, ", ".join(repr(stage.tier.name) for stage in self._stages) or "none"
        )

    @property
    def namespace(self) -> str:
        """The name under which functions and caches share, unless they say their own."""
        return self._wiring.namespace

    def __repr__(self) -> str:
        tiers = ", ".join(["memory", *(stage.tier.name for stage in self._stages)])
        return f"<Engine {self.namespace}: {tiers}>"

    # ---- Invalidation

    def invalidate(
        self,
        *,
        tags: Iterable[str] | str | None = None,
        function: Callable[..., Any] | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
        glob: str | None = None,
        regex: str | re.Pattern[str] | None = None,
        confirm: int = 0,
        confirm_timeout: Duration = 1.0,
    ) -> Outcome:
        """Make a miss of all entries that have something in common, in every tier.

        Loads that began before it store nothing. Give exactly one of:

        Args:
            tags: a tag or several.
            function: a cached function: all of its results.
            namespace: everything under a namespace.
            prefix: functions and caches whose shared name, "{namespace}:{name}:{version}:", begins
                so. This one and the next two look through the keys of the tiers for the names that
                only other processes know, which takes longer the more there are.
            glob: those whose "{namespace}:{name}:{version}" matches a shell pattern.
            regex: those whose shared name matches a regular expression from its start.

        And, if you like:
            confirm: how many replicas of a Redis have to have it for that to be "done": then it
                outlives a failover to one of them.
            confirm_timeout: how long they may take.

        Raises:
            OptionTypeError: none of them or several were given.
            ConfigurationError: no tier has replicas that could confirm it.
            UnsupportedError: a pattern is for single entries, of whose arguments the name only has
                a hash.

        Example:
            >>> with Engine(database=False) as mill:
            ...     mill.invalidate(tags="user:7").done
            True
        """
        given: dict[str, Any] = {"tags": tags, "function": function, "namespace": namespace}
        given |= {"prefix": prefix, "glob": glob, "regex": regex}
        outcome: Outcome = drive(
            self._invalidator.steps(given, (confirm, confirm_timeout), inspection.prefixes)
        )
        return outcome

    async def ainvalidate(
        self,
        *,
        tags: Iterable[str] | str | None = None,
        function: Callable[..., Any] | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
        glob: str | None = None,
        regex: str | re.Pattern[str] | None = None,
        confirm: int = 0,
        confirm_timeout: Duration = 1.0,
    ) -> Outcome:
        """The same in an event loop."""
        given: dict[str, Any] = {"tags": tags, "function": function, "namespace": namespace}
        given |= {"prefix": prefix, "glob": glob, "regex": regex}
        outcome: Outcome = await adrive(
            self._invalidator.steps(given, (confirm, confirm_timeout), inspection.aprefixes)
        )
        return outcome

    def _drop(self, op: str, what: list[str]) -> None:
        if op == "bump":
            self._holdings.drop(what, ())
        else:
            self._holdings.drop((), what)

    def erase(
        self, *, tag: str | None = None, tenant: str | None = None, owner: str | None = None
    ) -> dict[str, int]:
        """Remove the bytes of all entries that carry a tag, from memory and from every tier.

        Where `invalidate` makes entries unreadable, this goes through the namespaces of this
        Engine's functions and deletes them; it takes as long as reading all of it.

        Args:
            tag: a tag.
            tenant, owner: short for tag="tenant:…" and tag="owner:…".

        Returns:
            How many entries were removed, by tier.

        Raises:
            TierError: a tier could not be gone through; ask again when it is back.
        """
        return self._invalidator.erase(tag, tenant, owner)

    async def aerase(
        self, *, tag: str | None = None, tenant: str | None = None, owner: str | None = None
    ) -> dict[str, int]:
        """The same beside an event loop."""
        import asyncio

        return await asyncio.to_thread(self._invalidator.erase, tag, tenant, owner)

    # ---- Statistics

    def stats(self) -> dict[str, Any]:
        """What memory and each tier has done.

        Returns:
            "memory": a CacheInfo; and for each tier by its name, a dict.
        """
        found: dict[str, Any] = {"memory": self._cache.stats()}
        for stage in self._stages:
            found[stage.tier.name] = stage.monitor.snapshot()
            unconfirmed = 0 if stage.unconfirmed is None else len(stage.unconfirmed)
            found[stage.tier.name]["pending"] = len(stage.journal) + unconfirmed
            if stage in self._coherence:
                found[stage.tier.name]["coherence"] = self._coherence[stage].stats()
            if stage.keeper is not None:
                found[stage.tier.name]["leases"] = stage.keeper.stats()
        return found

    # ---- Functions

    def attach(self, function: Any) -> None:
        """Give a function behind `with_cache` the tiers of this Engine.

        Raises:
            ConfigurationError: its name may be another program's too.
        """
        self._wiring.attach(function)

    def _returned(self, stage: Stage, deadline: Deadline) -> None:
        """A tier that was out answers again: callers are let through when this returns."""
        replay_directly(stage, deadline)
        if stage.unconfirmed is not None and isinstance(stage.tier, Replicated):
            stage.unconfirmed.restore(stage.tier, deadline)
        if self._listening.on and stage in self._coherence:
            self._coherence[stage].begin()


def _cache(cache: Cache | None, max_bytes: int | str | None) -> Cache:
    if cache is None:
        return Cache(max_bytes=max_bytes)
    return decorator.checked_cache(cache)


def _decorator_of(home: Registry) -> Any:
    def with_cache(function: Any = None, /, **given: Any) -> Any:
        """`millpond.with_cache`, with the tiers of this Engine."""
        return decorator.decorate(function, decorator.filled(given), home)

    return with_cache


# ---- The Engine of mp.with_cache

_default: Engine | None = None


def configure(**given: Any) -> Engine:
    """Give tiers to all functions of `mp.with_cache`, also to those that are decorated already.

    Takes what `Engine` takes. Functions whose names may be another program's too stay in memory.
    """
    global _default
    engine = Engine(cache=default_cache(), **given)

    def attach(function: Any) -> None:
        if function._is_per_instance():
            return
        try:
            engine.attach(function)
        except ConfigurationError as error:
            _log.warning("stays in memory: %s", error)

    registry.default.attach_with(attach)
    _default = engine
    return engine
