"""A cache as small as can be, over the flights of the extension: a dict and a function.

It plays the part that the decorated function plays in C++, so that the tests see flights alone.
"""

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any

from millpond._engine import _testing

flights: Any = _testing.flights


def until(condition: Callable[[], bool]) -> None:
    """Lets other threads run until `condition()` holds; fails after a minute."""
    for _ in range(60_000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise AssertionError("what the test waits for did not happen within a minute")


Function = Callable[..., Any]


class FlightStore:
    """Calls `function(key)` once for however many callers; `keep` stores what it returned."""

    def __init__(self, function: Function, *, keep: bool = True, name: str = "load") -> None:
        self.function = function
        self.keep = keep
        self.__qualname__ = name
        self.values: dict[Hashable, Any] = {}
        self.flights: dict[Hashable, Any] = {}
        self.events: Counter[str] = Counter()

    # ---- synchronous

    def get(self, key: Hashable, timeout: float = -1) -> Any:
        """What a decorated function does on a call."""
        if key in self.values:
            return self.values[key]
        flight = self.flights.get(key)
        if flight is None:
            flight = self.flights[key] = flights.lead(self)
            return self._load(flight, key)
        self.events["waits"] += 1
        what, value = flights.wait(flight, timeout)
        self.events[what] += 1
        if what == "lead":
            return self._load(flight, key)
        return value if what == "value" else self.function(key)

    def _load(self, flight: Any, key: Hashable) -> Any:
        self.events["loads"] += 1
        token = flights.enter(flight)
        try:
            value = self.function(key)
        except BaseException as error:
            flights.leave(token)
            if flights.is_interruption(error):
                flights.abandon(flight)
            else:
                flights.fail(flight, error)
            raise
        flights.leave(token)
        flights.land(flight, value)
        return value

    # ---- asynchronous

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        return flights.async_call(self, *args, **kwargs)

    def start(
        self, mode: str, promoted: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> tuple[str, Any]:
        """The hook behind an async call."""
        key = args[0] if args else kwargs["key"] if kwargs else None
        if key in self.values:
            return "value", self.values[key]
        if mode == "alone":
            self.events["alone"] += 1
            return "alone", self.function(key)
        flight = promoted if mode == "restart" else self.flights.get(key)
        if flight is None:
            flight = self.flights[key] = flights.lead(self)
        elif mode == "first":
            self.events["joins"] += 1
            return "wait", flight
        self.events["loads"] += 1
        self._run(flight, self.function(key))
        return "wait", flight

    def _run(self, flight: Any, coroutine: Awaitable[Any]) -> None:
        flights.run_task(flight, coroutine)

    # ---- both

    def settled(self, flight: Any, how: str, outcome: Any) -> None:
        """The hook at the end of a load."""
        self.events[how] += 1
        key = next(key for key, known in self.flights.items() if known is flight)
        del self.flights[key]
        if how == "landed" and self.keep:
            self.values[key] = outcome

    def waiters(self, key: Hashable) -> int:
        """How many wait for `key` now."""
        return flights.waiters(self.flights[key]) if key in self.flights else 0
