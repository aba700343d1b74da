"""What a cached async function is to do, told without awaiting anything.

Plain lists and dicts: who waits for which load in which order, what is stored, and how each call
ends. `test_flights_model.py` plays the same story with `with_cache` and compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Outcome = tuple[str, object]  # ("value", v), ("error", e) or CANCELLED
CANCELLED: Outcome = ("cancelled", None)


@dataclass(eq=False)
class Call:
    """Somebody who called the function: a task, or a load (`parent`) that asks for another key."""

    number: int
    key: str
    loop: int
    parent: Run | None = None
    at_once: Outcome | None = None  # what a load that this call starts does before it suspends
    outcome: Outcome | None = None
    flight: Flight | None = None  # that it waits on
    alone: Run | None = None  # that it makes by itself
    lost: bool = False  # its loop was closed


@dataclass(eq=False)
class Run:
    """One call of the plain function."""

    call: Call  # in whose context it runs
    flight: Flight | None  # null: uncoalesced
    inner: Call | None = None  # what it waits for, if not for the test
    over: bool = False

    @property
    def innermost(self) -> Flight | None:
        """The load that whoever is called in here runs in; none once that is over."""
        if self.flight is not None:
            return self.flight if self.flight.run is self else None
        return self.call.parent.innermost if self.call.parent else None


@dataclass(eq=False)
class Flight:
    key: str
    refresh: bool = False
    run: Run | None = None
    queue: list[Call] = field(default_factory=list)
    undone: bool = False  # invalidated meanwhile: nothing is stored


class Model:
    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self.now = 0.0
        self.stored: dict[str, tuple[object, float]] = {}
        self.joinable: dict[str, Flight] = {}
        self.flights: list[Flight] = []
        self.calls: list[Call] = []
        self.runs: list[Run] = []
        self.hits = self.loads = self.errors = self.coalesced = 0

    # ---- What a caller does

    def call(self, call: Call) -> None:
        self.calls.append(call)
        if call.key in self.stored:
            self.hits += 1
            self.end_call(call, ("value", self.stored[call.key][0]))
        elif call.key in self.joinable:
            self.coalesced += 1
            self.join(call, self.joinable[call.key])
        else:
            self.lead(call, Flight(call.key))

    def refresh(self, call: Call) -> None:
        self.calls.append(call)
        self.lead(call, Flight(call.key, refresh=True))

    def lead(self, call: Call, flight: Flight) -> None:
        self.flights.append(flight)
        if not flight.refresh:
            self.joinable[call.key] = flight
        self.start(flight, call)

    def join(self, call: Call, flight: Flight) -> None:
        inside = call.parent.innermost if call.parent else None
        if inside is not None and self.waits_for(flight, inside):
            call.alone = Run(call, None)
            self.begin(call.alone)
            return
        call.flight = flight
        flight.queue.append(call)
        self.look_after(flight)

    def waits_for(self, flight: Flight, other: Flight, seen: tuple[Flight, ...] = ()) -> bool:
        if flight is other:
            return True
        awaited = [
            call.flight
            for call in self.calls
            if call.flight and call.parent and call.parent.innermost is flight
        ]
        return any(self.waits_for(f, other, (*seen, flight)) for f in awaited if f not in seen)

    def cancel(self, call: Call) -> None:
        """The task of a call that waits is cancelled, and it with what it waits for."""
        if call.alone:
            self.cancel_run(call.alone)
            return
        flight = call.flight
        self.leave(call)
        if flight is not None and flight.run is not None and not flight.queue:
            self.cancel_run(flight.run)

    def leave(self, call: Call) -> None:
        assert call.flight is not None
        call.flight.queue.remove(call)
        call.flight = None
        self.end_call(call, CANCELLED)

    def cancel_run(self, run: Run) -> None:
        if run.call.lost:
            assert run.flight is not None
            self.hand_over(run.flight)
        elif run.inner is not None:
            self.cancel(run.inner)
        else:
            self.end(run, CANCELLED)

    # ---- What a load does

    def start(self, flight: Flight, call: Call) -> None:
        call.flight = flight
        flight.queue.append(call)
        flight.run = Run(call, flight)
        self.begin(flight.run)

    def begin(self, run: Run) -> None:
        self.runs.append(run)
        at_once, run.call.at_once = run.call.at_once, None
        if at_once is not None:
            self.end(run, at_once)

    def ask(self, run: Run, call: Call) -> None:
        """The load calls the function in its turn, and will end as that call does."""
        run.inner = call
        self.call(call)

    def end(self, run: Run, outcome: Outcome) -> None:
        run.over = True
        if run.flight is None:
            run.call.alone = None
            self.end_call(run.call, outcome)
            return
        flight = run.flight
        assert flight.run is run
        if outcome is CANCELLED:
            if run.call in flight.queue:
                flight.queue.remove(run.call)
                run.call.flight = None
                self.end_call(run.call, CANCELLED)
            self.hand_over(flight)
            return
        self.loads += 1
        self.errors += outcome[0] == "error"
        if outcome[0] == "value" and not flight.undone:
            if flight.refresh:
                self.forget(flight.key, refreshes=False)
            self.stored[flight.key] = (outcome[1], self.now + self.ttl)
        waiting, flight.queue = flight.queue, []
        self.over(flight)
        for call in waiting:
            call.flight = None
            self.end_call(call, outcome)

    def hand_over(self, flight: Flight) -> None:
        """The load ended without an outcome for all: who has waited longest starts it again."""
        while flight.queue:
            call = flight.queue.pop(0)
            if not call.lost:
                self.start(flight, call)
                return
            call.flight = None
        self.over(flight)

    def over(self, flight: Flight) -> None:
        flight.run = None
        self.flights.remove(flight)
        if self.joinable.get(flight.key) is flight:
            del self.joinable[flight.key]

    def end_call(self, call: Call, outcome: Outcome) -> None:
        if not call.lost:
            call.outcome = outcome
            if call.parent is not None:
                call.parent.inner = None
                self.end(call.parent, outcome)

    # ---- What happens to them

    def forget(self, key: str, refreshes: bool = True) -> bool:
        there = self.stored.pop(key, None) is not None
        self.joinable.pop(key, None)
        for flight in self.flights:
            if flight.key == key and (refreshes or not flight.refresh):
                flight.undone = True
        return there

    def set(self, key: str, value: object) -> None:
        self.forget(key)
        self.stored[key] = (value, self.now + self.ttl)

    def clear(self) -> None:
        self.stored.clear()
        self.joinable.clear()
        for flight in self.flights:
            flight.undone = True
        self.hits = self.loads = self.errors = self.coalesced = 0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.stored = {k: (v, end) for k, (v, end) in self.stored.items() if end > self.now}

    def close(self, loop: int) -> None:
        """The loop stops where it is; the other one finds out."""
        for call in self.calls:
            call.lost |= call.loop == loop
        for flight in list(self.flights):
            self.look_after(flight)

    def look_after(self, flight: Flight) -> None:
        """A load whose loop is closed is started again as soon as somebody can."""
        if flight.run and flight.run.call.lost and not all(call.lost for call in flight.queue):
            self.hand_over(flight)
