"""Cached async calls on two loops that are stepped by hand, against the model of `flights_model`.

Hypothesis thinks up the story: who calls, is cancelled, lands, fails, asks for another key from
inside a load, invalidates, sets, clears, closes a loop. After each act every task, every call of
the plain function, the counts and what is stored must be as the model says.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import millpond as mp
from millpond._engine import ManualClock
from tests.python.flights.flights_model import CANCELLED, Call, Model, Outcome, Run

T = TypeVar("T")
TTL = 10.0
KEYS = st.sampled_from("ab")
LOOPS = st.integers(0, 1)
INDEX = st.integers(0, 40)
# What a load does at once, as a rule nothing: it waits to be told.
AT_ONCE = st.sampled_from([None, None, None, None, None, None, "value", "error", "cancelled"])

STORE_ACTS = ["invalidate a call", "invalidate a tag", "invalidate all", "set", "clear", "time"]
ACTS = st.sampled_from(
    ["call"] * 4
    + ["value", "error", "cancelled", "cancelled", "ask", "ask", "ask", "refresh", "close"]
    + ["leave", "leave", "leave as others come", "leave at the end", *STORE_ACTS]
)

caller: contextvars.ContextVar[Call] = contextvars.ContextVar("caller")


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop that runs when it is told, and whose time passes when it is told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def step(self) -> None:
        """Runs what is ready now."""
        self.call_soon(self.stop)
        self.run_forever()

    @property
    def busy(self) -> bool:
        hidden: Any = self
        return bool(hidden._ready) or any(
            timer.when() <= self.now for timer in hidden._scheduled if not timer.cancelled()
        )


class Flights(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model(TTL)
        self.clock = ManualClock()
        self.cache = mp.Cache(clock=self.clock)
        self.load: Any = mp.with_cache(cache=self.cache, ttl=TTL, tags=("all", "key:{key}"))(
            self.plain
        )
        self.loops = [new_loop(), new_loop()]
        self.numbers = 0
        self.tasks: list[tuple[Call, asyncio.Task[Any]]] = []
        self.begun: list[tuple[str, int]] = []
        # By the number of the call in whose context the load runs.
        self.at_once: dict[int, Outcome] = {}
        self.gates: dict[int, asyncio.Future[Any]] = {}

    async def plain(self, key: str) -> object:
        call = caller.get()
        self.begun.append((key, call.number))
        told = self.at_once.pop(call.number, None)
        if told is None:
            gate = self.gates[call.number] = asyncio.get_running_loop().create_future()
            try:
                told = await gate
            finally:
                del self.gates[call.number]
        what, given = told
        if what == "ask":
            caller.set(given)
            return await self.load(given.key)
        if what == "error":
            raise given
        if what == "cancelled":
            raise asyncio.CancelledError
        return given

    # ---- Means

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def outcome(self, kind: str) -> Outcome:
        if kind == "cancelled":
            return CANCELLED
        number = self.number()
        return (kind, ValueError(number) if kind == "error" else f"value {number}")

    def new_call(self, key: str, loop: int, at_once: str | None, parent: Run | None = None) -> Call:
        call = Call(self.number(), key, loop, parent)
        if at_once is not None:
            call.at_once = self.at_once[call.number] = self.outcome(at_once)
        return call

    def begin(self, call: Call, *, refresh: bool = False) -> None:
        context = contextvars.copy_context()
        context.run(caller.set, call)
        function = self.load.cache_refresh if refresh else self.load
        task = self.loops[call.loop].create_task(function(call.key), context=context)
        self.tasks.append((call, task))

    def settle(self) -> None:
        for _ in range(100):
            busy = [loop for loop in self.loops if loop.busy]
            if not busy:
                return
            for loop in busy:
                loop.step()
        raise AssertionError("the loops do not come to rest")

    def untold(self) -> list[Run]:
        """The loads that wait to be told what to do."""
        return [r for r in self.model.runs if not (r.over or r.inner or r.call.lost)]

    def waiting(self) -> list[tuple[Call, asyncio.Task[Any]]]:
        return [pair for pair in self.tasks if pair[0].outcome is None and not pair[0].lost]

    def shared(self) -> bool:
        """Whether tasks of both loops wait for one load."""
        return any(
            len({call.loop for call in flight.queue if not call.lost}) == 2
            for flight in self.model.flights
        )

    # ---- What happens

    # One rule for all: of many rules Hypothesis leaves half out of an example, and tells long
    # stories of callers who come and come.
    @rule(what=ACTS, key=KEYS, index=INDEX, loop=LOOPS, at_once=AT_ONCE)
    def act(self, what: str, key: str, index: int, loop: int, at_once: str | None) -> None:
        untold, waiting = self.untold(), self.waiting()
        if what in STORE_ACTS:
            self.change_the_store(key, what)
        elif what == "refresh":
            self.call(key, loop, at_once, refresh=True)
        elif what == "close" and self.shared():
            self.close(loop)
        elif what in ("value", "error", "cancelled") and untold:
            self.end(pick(untold, index), what)
        elif what == "ask" and untold:
            self.ask(pick(untold, index), key, at_once)
        elif what == "leave" and waiting:
            self.cancel(*pick(waiting, index))
        elif what == "leave as others come" and waiting:
            self.call_while_the_load_is_being_cancelled(*pick(waiting, index), at_once)
        elif what == "leave at the end" and waiting:
            self.cancel_in_the_turn_of_the_landing(*pick(waiting, index))
        else:
            self.call(key, loop, at_once)

    def call(self, key: str, loop: int, at_once: str | None, *, refresh: bool = False) -> None:
        call = self.new_call(key, loop, at_once)
        self.begin(call, refresh=refresh)
        self.settle()
        (self.model.refresh if refresh else self.model.call)(call)

    def end(self, run: Run, kind: str) -> None:
        outcome = self.outcome(kind)
        self.gates[run.call.number].set_result(outcome)
        self.settle()
        self.model.end(run, outcome)

    def ask(self, run: Run, key: str, at_once: str | None) -> None:
        call = self.new_call(key, run.call.loop, at_once, run)
        self.gates[run.call.number].set_result(("ask", call))
        self.settle()
        self.model.ask(run, call)

    def cancel(self, call: Call, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self.settle()
        self.model.cancel(call)

    def call_while_the_load_is_being_cancelled(
        self, call: Call, task: asyncio.Task[Any], at_once: str | None
    ) -> None:
        run = call.flight.run if call.flight is not None else None
        if run is not None and run.call is call and not run.inner and run.flight.queue == [call]:
            other = self.new_call(call.key, call.loop, at_once)
            self.loops[call.loop].call_soon(task.cancel)
            self.begin(other)
            self.settle()
            self.model.leave(call)
            self.model.call(other)
            self.model.end(run, CANCELLED)

    def cancel_in_the_turn_of_the_landing(self, call: Call, task: asyncio.Task[Any]) -> None:
        run = call.flight.run if call.flight is not None else None
        if run is not None and not run.inner and run.call.loop == call.loop and not run.call.lost:
            outcome = self.outcome("value")
            self.gates[run.call.number].set_result(outcome)
            self.loops[call.loop].step()
            assert not task.done()
            task.cancel()
            self.settle()
            self.model.leave(call)
            self.model.end(run, outcome)

    def change_the_store(self, key: str, how: str) -> None:
        if how == "invalidate a call":
            assert self.load.cache_invalidate(key) is self.model.forget(key)
        elif how == "invalidate a tag":
            assert self.cache.invalidate(tags=f"key:{key}") == self.model.forget(key)
        elif how == "invalidate all":
            removed = sum(self.model.forget(key) for key in "ab")
            assert self.cache.invalidate(tags="all") == removed
        elif how == "set":
            value = f"set {self.number()}"
            self.load.cache_set(value, key)
            self.model.set(key, value)
        elif how == "clear":
            self.load.cache_clear()
            self.model.clear()
        else:
            self.clock.advance(TTL * 0.6)
            self.model.pass_time(TTL * 0.6)
        self.settle()

    def close(self, number: int) -> None:
        """One loop stops where it is, for good, and another takes its place."""
        self.loops[number].close()
        self.loops[number] = new_loop()
        for loop in self.loops:
            loop.now += 1  # longer than a waiting loop takes to look whether the other one lives
        self.settle()
        self.model.close(number)

    # ---- What must be

    def check(self) -> None:
        self.calls_end_as_they_should()
        self.the_function_is_called_as_often_as_it_should()
        self.holds_what_it_should()

    @invariant()
    def calls_end_as_they_should(self) -> None:
        for call, task in self.tasks:
            assert task.done() is (call.outcome is not None), call
            if call.outcome is CANCELLED:
                assert task.cancelled()
            elif call.outcome is not None:
                what, given = call.outcome
                assert (task.exception() if what == "error" else task.result()) is given

    @invariant()
    def the_function_is_called_as_often_as_it_should(self) -> None:
        wanted = [(run.call.key, run.call.number) for run in self.model.runs]
        assert sorted(self.begun) == sorted(wanted)
        waits = [r for r in self.model.runs if not (r.over or r.inner or r.call.lost)]
        assert {run.call.number for run in waits} <= self.gates.keys()

    @invariant()
    def holds_what_it_should(self) -> None:
        info = self.load.cache_info()
        model = self.model
        assert (info.hits, info.loads, info.load_errors, info.coalesced) == (
            model.hits,
            model.loads,
            model.errors,
            model.coalesced,
        )
        assert info.currsize == len(model.stored)
        for key in "ab":
            assert self.load.cache_contains(key) is (key in model.stored)

    def teardown(self) -> None:
        """When all have left, nothing goes on."""
        try:
            for call, task in self.tasks:
                if not task.done() and not call.lost:
                    task.cancel()
                    self.settle()
                    self.model.cancel(call)
            self.check()
            # But for what a task of a closed loop waits for, and loads that such a load asked for.
            still = [call for flight in self.model.flights for call in flight.queue]
            assert all(call.lost or call.parent is not None for call in still)
        finally:
            for loop in self.loops:
                loop.close()


def pick(things: list[T], index: int) -> T:
    return things[index % len(things)]


def new_loop() -> SteppedLoop:
    loop = SteppedLoop()
    # A loop that is closed in the middle says of each task that it was destroyed: as it should.
    loop.set_exception_handler(lambda *_: None)
    return loop


# More of them with `make pytest PYTEST='--hypothesis-profile=slow -k flights_model'`.
TestFlights = Flights.TestCase
TestFlights.settings = settings(stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(
    "story",
    [
        # Who joined a load of its own loop looks after it when another loop takes the load over.
        ["call 0", "call 1", "call 0", "cancelled", "close 1"],
        # A load that is interrupted before it suspends has a caller all the same.
        ["call 0 cancelled"],
        ["call 0 cancelled", "call 1", "call 0 cancelled", "cancelled", "cancelled"],
    ],
    ids=", ".join,
)
def test_a_story_that_once_went_wrong(story: list[str]) -> None:
    machine = Flights()
    for chapter in story:
        what, loop, at_once, *_ = [*chapter.split(), None, None]
        machine.act(what, "a", 0, int(loop or 0), at_once)
        machine.check()
    machine.teardown()
