"""Invalidation through all tiers, and what became of it in each."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Literal, final

from millpond.cache.stage import Budget
from millpond.cache.steps import PAUSE
from millpond.io.jitter import jittered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from millpond.cache.stage import Stage
    from millpond.io.deadline import Deadline

    State = Literal["done", "pending", "failed"]

_ATTEMPTS: Final = 3
_FIRST_PAUSE: Final = 0.1  # seconds, drawn in full: 0 to this, doubled each time


@final
class Outcome:
    """What became of an invalidation.

    Attributes:
        memory: how many live entries of this process it removed.
        found: whether memory or a tier had something under a key that was removed.
        tiers: by the name of each tier: "done"; or "pending": the tier is out, and this process
            tells it before it reads it again. Until then other processes that reach it may serve
            what it has. "failed": the tier could not be asked what a pattern means there; only
            what this process knows of it is pending, or done.
    """

    __slots__ = ("found", "memory", "tiers")

    def __init__(self, memory: int, tiers: Mapping[str, State], *, found: bool = False) -> None:
        self.memory = memory
        self.found = found or memory > 0
        self.tiers = dict(tiers)

    @property
    def done(self) -> bool:
        """Whether every tier has been told."""
        return all(state == "done" for state in self.tiers.values())

    def __repr__(self) -> str:
        told = "".join(f", {name}: {state}" for name, state in self.tiers.items())
        return f"<Outcome {self.memory} in memory{told}>"


def spread(
    stages: Sequence[Stage], op: str, what: Sequence[str], here: Callable[[], int]
) -> Generator[Any, Any, Outcome]:
    """Tell memory, then every tier from the slowest to the fastest, then memory again.

    The slowest first: who reads an old value from a slow tier, and fills a faster one with it, has
    taken the stamps of the faster one before, and those are out of date by the time it is told.
    """
    removed = here()
    states: dict[str, State] = {}
    found = False
    for stage in reversed(stages):
        states[stage.tier.name], answer = yield from _tell(stage, op, list(what))
        found |= op == "delete" and any(answer)
    return Outcome(removed + here(), states, found=found)


def _tell(
    stage: Stage, op: str, what: list[str]
) -> Generator[Any, Any, tuple[State, Sequence[Any]]]:
    for attempt in range(_ATTEMPTS):
        answer = yield stage, op, (Budget(stage.tier.timeout), what)
        if answer is not None:
            return "done", answer
        if stage.is_out():
            break
        if attempt + 1 < _ATTEMPTS:
            yield None, PAUSE, (jittered(_FIRST_PAUSE * 2**attempt, least=0.0),)
    stage.owe(op, what)
    return "pending", ()


def replay(stage: Stage, budget: Budget, *, eager: bool = False) -> Generator[Any, Any, bool]:
    """Tell a tier what it missed; whether it has been told all of it.

    One that has just refused is left alone for a moment, unless `eager`: a tier whose disk is full
    may refuse for hours, and every call comes here.

    Others may have read old values from it meanwhile and filled faster tiers with them, so these
    are told again, and so is memory.
    """
    while (batch := stage.journal.take(eager=eager)) is not None:
        token, kind, items = batch
        op = "delete" if kind == "keys" else "bump"
        what = stage.namespaces() if kind == "everything" else items
        try:
            told = (yield stage, op, (budget, what)) is not None
        except BaseException:  # Who is cancelled has not told it, and says nothing about it.
            stage.journal.failed(token)
            raise
        if not told:
            stage.journal.failed(token, refused=True)
            return False
        stage.journal.done(token)
        for faster in reversed(stage.faster):
            if (yield faster, op, (Budget(faster.tier.timeout), what)) is None:
                faster.owe(op, what)
        stage.drop(op, what)
    return len(stage.journal) == 0


def replay_directly(stage: Stage, deadline: Deadline) -> None:
    """The same for who finds out whether the tier is back, while callers are kept away from it.

    Raises:
        TierError: it is not.
    """
    # An error ends the steps now, which puts back what was not told, and not only when its last
    # traceback is forgotten.
    with closing(replay(stage, Budget(deadline.left()), eager=True)) as steps:
        answer: Any = None
        while True:
            try:
                asked, op, args = steps.send(answer)
            except StopIteration:
                return
            if asked is stage:
                answer = getattr(stage.tier, op)(args[1], deadline)
            else:
                answer = asked.ask(args[0], op, *args[1:])
