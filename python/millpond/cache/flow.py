"""The way of a call that memory could not answer: the tiers, the function, and back up.

It is written once, as a generator that yields requests and is sent what came of them; `steps.drive`
carries them out in a thread, `steps.adrive` in an event loop. What is asked of the tiers, and in
which order, is therefore the same in both.

Stamps are taken on the way down, before what they vouch for is read or computed; a value that was
invalidated meanwhile is stored under old stamps, and read by nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from millpond import _engine
from millpond.cache.batch import brings_nothing, is_batched
from millpond.cache.fills import Fills, Item
from millpond.cache.gathered import gathering
from millpond.cache.leases import FREE
from millpond.cache.looks import Look, Looks
from millpond.cache.past import instead, youngest
from millpond.cache.stage import Budget
from millpond.cache.steps import LISTEN, Raised, adrive, drive
from millpond.cache.turn import LANDED, TAKEN
from millpond.cache.writes import Writes
from millpond.errors import WaitTimeoutError
from millpond.io.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from millpond.cache.leases import Held
    from millpond.cache.listening import Listening
    from millpond.cache.looks import First
    from millpond.cache.names import Name
    from millpond.cache.rules import Rules
    from millpond.cache.stage import Stage
    from millpond.cache.steps import Steps
    from millpond.io.codecs import Codec

    # The name of a call, the generations of its tags, and what the first look has found.
    Call = tuple[str, tuple[str, ...]] | tuple[str, tuple[str, ...], First]

REFRESH: Final = 1  # the bits of a load's mode, as in function_object.hpp
NO_STORE: Final = 2
ANEW: Final = 4
BEHIND: Final = 8
FROM_NOBODY: Final = 255
_ROUNDS: Final = 3  # that a call waits for another's value, where each is old when it comes


def _nobody(_error: BaseException) -> None:
    pass


@final
class Flow:
    """The tiers of one function or cache.

    Args:
        name: what it is called there.
        function: what is called when no tier has the value.
        stages: the tiers behind the memory, the fastest first.
        codec: between values and bytes.
        rules: what is stored and for how long.
        budget: seconds that a call may spend on tiers.
        listening: begun before a tier is asked, whenever it is off.
        mapping: whether the function is a cache's own loader, whose calls are (key, loader, ttl,
            tags, cost).
        lock: whether processes make one load between them, where a tier has leases.
        patience: seconds that a thread waits for the load of another process; None: no limit.
        hidden: told what the function raised where a value past its life is served instead.
    """

    __slots__ = (
        "budget",
        "early",
        "fills",
        "function",
        "hidden",
        "listening",
        "lock",
        "looks",
        "mapping",
        "monitors",
        "name",
        "patience",
        "rules",
        "stages",
        "writes",
    )

    def __init__(
        self,
        name: Name,
        function: Callable[..., Any],
        *,
        stages: Sequence[Stage],
        codec: Codec,
        rules: Rules,
        budget: float,
        listening: Listening | None = None,
        mapping: bool = False,
        lock: bool = True,
        patience: float | None = None,
        hidden: Callable[[BaseException], object] = _nobody,
    ) -> None:
        self.name = name
        self.function = function
        self.stages = tuple(stages)
        self.monitors = tuple([stage.monitor for stage in stages])
        self.looks = Looks(self.stages, codec, name, rules, strict=not mapping)
        self.fills = Fills(name, self.monitors, codec)
        self.rules = rules
        self.budget = budget
        self.listening = listening
        self.writes = Writes() if listening is None else listening.writes
        self.mapping = mapping
        self.lock = lock
        self.patience = patience
        self.hidden = hidden
        self.early = self.first()

    def load(self, call: Call, mode: int, /, *args: Any, **kwargs: Any) -> Any:
        """The value of a call, as the engine's `Loaded`."""
        if self.listening is not None and not self.listening.on:
            drive(self.listen())
        cap = self.cap()
        if self._is_refused(call):
            found = self._unkept(self.function(*args, **kwargs), mode, args)
        else:
            found = drive(self._one(call, mode, args, kwargs))
        if cap is not None and type(found) is _engine.Loaded:
            found.shorten(cap)
        return found

    async def aload(self, call: Call, mode: int, /, *args: Any, **kwargs: Any) -> Any:
        """The same for an async function."""
        if self.listening is not None and not self.listening.on:
            await adrive(self.listen())
        cap = self.cap()
        if (early := self._first_look(call, mode, args)) is not None:
            seen = await self._alook_first(early, call, mode)
            if type(seen) is _engine.Loaded:
                if cap is not None:
                    seen.shorten(cap)
                return seen
            if seen is not None:
                call = (*call[:2], seen)
        if self._is_refused(call):
            found = self._unkept(await self.function(*args, **kwargs), mode, args)
        else:
            found = await adrive(self._one(call, mode, args, kwargs))
        if cap is not None and type(found) is _engine.Loaded:
            found.shorten(cap)
        return found

    def cap(self) -> float | None:
        """Seconds that memory may keep what is loaded from now on, as others are heard now.

        What they changed before they were heard is never told. So it holds for a load to its end,
        also if they are heard by then.
        """
        return _engine.memory_life(None, None, self.monitors)

    def first(self) -> _engine.FirstLook | None:
        """The first look of each call, which the engine makes."""
        if not self.stages:
            return None
        stage = self.stages[0]
        return _engine.FirstLook(
            self.looks.readers[stage],
            stage,
            stage.tier,
            getattr(stage.tier, "row_look", None),
            stage.journal,
            self.listening,
            self.name.generations,
            Deadline,
            self.rules.memory_ttl,
            self.budget,
        )

    # ---- One call

    def listen(self) -> Steps:
        """Hears of what others do from now on, which comes before anything is kept."""
        if self.listening is not None and not self.listening.on:
            yield None, LISTEN, (self.listening,)

    def _one(self, call: Call, mode: int, args: Any, kwargs: Any) -> Steps:
        if self.mapping and is_batched(args[1]):
            return (yield None, self.function, (args, kwargs))  # The batch asks the tiers.
        key, tags, *known = call
        first: First | None = known[0] if known else None
        names = [*self.name.generations, *tags]
        budget = Budget(self.budget if first is None else self.budget - first[2])
        store, anew = not mode & NO_STORE, bool(mode & ANEW)
        looks: list[Look] = []
        for stage in self.stages:
            if mode & REFRESH:
                look = yield from self.looks.stamps(stage, names, budget)
            else:
                found, look = yield from self.looks.look(
                    stage, [key], names, budget, first, store=store, anew=anew
                )
                first = None
                if found:
                    if looks and store:
                        yield from self.fills.up(looks, found, budget, stage)
                    return found[key]
            if look is not None:
                looks.append(look)
        held = FREE
        locks = looks and self.lock and not mode & (REFRESH | NO_STORE)
        if locks and not (self.mapping and brings_nothing(args[1])):
            try:
                found, at, held = yield from self._turn(key, names, looks, budget, mode)
            except WaitTimeoutError as error:
                return (
                    yield from instead(self, Raised(error), key, names, looks, budget, store, anew)
                )
            if found:
                yield from self.fills.up(looks[:at], found, budget, looks[at].stage)
                return found[key]
        held.began()
        try:
            value = yield None, self.function, (args, kwargs)
            held.ended(type(value) is Raised)
            if type(value) is Raised:
                return (yield from instead(self, value, key, names, looks, budget, store, anew))
            if not looks or type(value) is _engine.Loaded or value is _engine.LEFT_OUT:
                return self._unkept(value, mode, args)
            rules = self._rules_of(args)
            write = bool(mode & REFRESH)
            return (
                yield from self.fills.keep(
                    key, value, rules, looks, budget, store=store, write=write, held=held
                )
            )
        finally:
            held.end()

    def _first_look(self, call: Call, mode: int, args: Any) -> _engine.FirstLook | None:
        """The look that an asynchronous call makes before the steps; None: it makes none."""
        others = mode & REFRESH or (self.mapping and is_batched(args[1])) or gathering.get()
        return None if others or len(call) > 2 else self.early

    async def _alook_first(self, early: _engine.FirstLook, call: Any, mode: int) -> Any:
        """The first look in an event loop: a `Loaded`, or a `First`; None if it cannot be made."""
        begun = early.begin(call)
        if begun is None or len(begun) == 4:
            return begun
        fetched: Any
        try:
            fetched = await self.stages[0].tier.afetch(*begun[2:])
        except BaseException as error:  # noqa: BLE001 (counted, and raised again if it has to be)
            fetched = error
        return early.end(call, begun, fetched, not mode & NO_STORE, bool(mode & ANEW))

    def _is_refused(self, call: Call) -> bool:
        """Whether the engine has asked the only tier there is, and that does not answer."""
        return len(call) == 3 and len(self.stages) == 1 and call[2][0] is None

    def _unkept(self, value: Any, mode: int, args: Any) -> _engine.Loaded:
        """What the function returned, where no tier is to keep it."""
        if type(value) is _engine.Loaded:
            return value
        if value is _engine.LEFT_OUT:
            return _engine.Loaded(value, 0, False, FROM_NOBODY, 0.0)
        rules = self._rules_of(args)
        store = not mode & NO_STORE and rules.keeps(value)
        return self.fills.loaded(value, rules.life(value), rules.dollars(value), rules, store)

    def _rules_of(self, args: Any) -> Rules:
        return self.rules.for_call(args[2], args[4]) if self.mapping else self.rules

    def _turn(
        self, key: str, names: list[str], looks: list[Look], budget: Budget, mode: int
    ) -> Generator[Any, Any, tuple[dict[str, _engine.Loaded], int, Held]]:
        """Takes the lease of a key, or waits for the process that has it.

        Returns:
            what that has brought, by key; which of the looks found it; and the lease under which
            this call is to load. A value past its life that may be served is that, where another
            process loads: no caller waits for it, and what fails there is tried again later.
        """
        at = next((i for i, look in enumerate(looks) if look.stage.keeper is not None), -1)
        keeper = looks[at].stage.keeper if at >= 0 else None
        turn = None if keeper is None else keeper.turn(key, self.patience)
        if turn is None:
            return {}, at, FREE
        past = youngest(looks, key)
        one = None if past is None else past.past[key]
        served = one if one is not None and -one.fresh < self.rules.stale_while else None
        behind = bool(mode & BEHIND)
        try:
            for _ in range(_ROUNDS):
                waits = served is None or behind
                held = yield from turn.take(looks[at].seen, budget, waits=waits)
                if served is not None and held is TAKEN:
                    return {key: served}, 0, FREE
                if served is not None and held is None and behind:
                    left = _engine.Loaded(served.value, 0, False, FROM_NOBODY, 0.0)
                    return {key: left}, 0, FREE
                if held is not LANDED:
                    return {}, at, held or FREE
                found, look = yield from self.looks.look(
                    looks[at].stage, [key], names, budget, anew=True
                )
                if found:
                    turn.landed()
                    return found, at, FREE
                if look is None:
                    break
                looks[at] = look  # What has landed is old already.
            return {}, at, FREE
        finally:
            turn.leave()

    # ---- Many keys of a cache

    def many(
        self,
        calls: dict[str, Any],
        tags: Sequence[str],
        rules: Rules,
        loader: Callable[[list[Any]], Any] | None,
    ) -> Steps:
        """What the tiers, and then one call of the loader, have for keys (by their names).

        A dict of `Loaded` by key; those that nobody has are left out.
        """
        yield from self.listen()
        cap = self.cap()
        found = yield from self._many(calls, tags, rules, loader)
        if cap is not None and type(found) is not Raised:
            for one in found.values():
                one.shorten(cap)
        return found

    def _many(
        self,
        calls: dict[str, Any],
        tags: Sequence[str],
        rules: Rules,
        loader: Callable[[list[Any]], Any] | None,
    ) -> Steps:
        budget = Budget(self.budget)
        names = [*self.name.generations, *tags]
        looks: list[Look] = []
        brought: dict[Any, Any] = {}
        absent = dict(calls)
        for stage in self.stages:
            found, look = yield from self.looks.look(stage, list(absent), names, budget)
            yield from self.fills.up(looks, found, budget, stage)
            for key, one in found.items():
                brought[absent.pop(key)] = one
            if look is not None:
                looks.append(look)
            if not absent:
                return brought
        if loader is None:
            return brought
        values = yield None, loader, (([*absent.values()],), {})
        if type(values) is Raised:
            return values
        items: list[Item] = []
        for key, wanted in absent.items():
            if wanted in values:
                value = values[wanted]
                life, store = rules.life(value), rules.keeps(value)
                if store:
                    items.append(Item(key, value, life, 0.0, rules.stale))
                brought[wanted] = self.fills.loaded(value, life, 0.0, rules, store)
        yield from self.fills.store(looks, items, budget)
        return brought
