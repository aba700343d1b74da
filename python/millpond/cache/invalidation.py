"""Invalidation through all tiers, and what became of it in each."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Literal, final

from millpond.cache.stage import Budget
from millpond.cache.steps import PAUSE
from millpond.cache.unconfirmed import UNASKED
from millpond.io.jitter import jittered

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from millpond.cache.stage import Stage
    from millpond.cache.unconfirmed import Confirm, Unconfirmed
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
        replicas: where `confirm` asked for it, by the name of each tier that has replicas: how many
            of these have it. With fewer than were asked for the tier is "pending", and this process
            asks again until so many have; "failed" if too much is pending already.
    """

    __slots__ = ("found", "memory", "replicas", "tiers")

    def __init__(
        self,
        memory: int,
        tiers: Mapping[str, State],
        *,
        found: bool = False,
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        self.memory = memory
        self.found = found or memory > 0
        self.tiers = dict(tiers)
        self.replicas = dict(replicas or {})

    @property
    def done(self) -> bool:
        """Whether every tier has been told."""
        return all(state == "done" for state in self.tiers.values())

    def __repr__(self) -> str:
        told = "".join(
            f", {name}: {state}" + (f" ({self.replicas[name]})" if name in self.replicas else "")
            for name, state in self.tiers.items()
        )
        return f"<Outcome {self.memory} in memory{told}>"


def spread(
    stages: Sequence[Stage],
    op: str,
    what: Sequence[str],
    here: Callable[[], int],
    confirm: Confirm = UNASKED,
) -> Generator[Any, Any, Outcome]:
    """Tell memory, then every tier from the slowest to the fastest, then memory again.

    The slowest first: who reads an old value from a slow tier, and fills a faster one with it, has
    taken the stamps of the faster one before, and those are out of date by the time it is told.
    A "bump" may be confirmed by replicas, when all have been told.
    """
    removed = here()
    states: dict[str, State] = {}
    answers: dict[Stage, Sequence[Any]] = {}
    for stage in reversed(stages):
        states[stage.tier.name], answers[stage] = yield from _tell(stage, op, list(what))
    found = op == "delete" and any(any(answer) for answer in answers.values())
    removed += here()
    replicas: dict[str, int] = {}
    if confirm.replicas and what:
        for stage, stamps in answers.items():
            if (unconfirmed := stage.unconfirmed) is not None:
                name = stage.tier.name
                states[name], replicas[name] = yield from _confirm(
                    stage, unconfirmed, what, stamps, confirm
                )
    return Outcome(removed, states, found=found, replicas=replicas)


def _confirm(
    stage: Stage,
    unconfirmed: Unconfirmed,
    names: Sequence[str],
    stamps: Sequence[int],
    confirm: Confirm,
) -> Generator[Any, Any, tuple[State, int]]:
    """Asks for a tier's replicas; what became of it there, and how many have it."""
    if not stamps:  # It is out, and the journal will tell it.
        return "pending" if unconfirmed.expect(names, confirm.replicas) else "failed", 0
    pairs = list(zip(names, stamps, strict=True))
    asked = (Budget(confirm.seconds), pairs, confirm.replicas)
    got = (yield stage, "confirm", asked) or 0
    if got >= confirm.replicas:
        return "done", got
    kept = unconfirmed.add(pairs, confirm.replicas)
    stage.opened()
    return "pending" if kept else "failed", got


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
            told = yield stage, op, (budget, what)
            if told is None:
                stage.journal.failed(token, refused=True)
                return False
            unconfirmed = stage.unconfirmed if op == "bump" else None
            if unconfirmed is not None and unconfirmed.told(
                what, told, everything=kind == "everything"
            ):
                stage.opened()
            for faster in reversed(stage.faster):
                # One that this call has no time for is told before it is read, too.
                if (yield faster, op, (budget, what)) is None:
                    faster.owe(op, what)
        except BaseException:  # Who is cancelled has not told all, and says nothing about a tier.
            stage.journal.failed(token)
            raise
        stage.drop(op, what)
        stage.journal.done(token)
        stage.changes += 1
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
