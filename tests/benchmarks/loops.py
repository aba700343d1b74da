"""Timed loops: one statement over a prepared list, written the same for every contender.

    for x in inputs:
        f(x)

Each contender gets its own compiled copy of the loop, and a new one each round: CPython adapts a
call site to what it has seen there, so a shared loop would punish whoever comes second, and a site
that adapted badly would punish one contender for a whole run. The loop itself (some 3 to 5 ns a
turn, printed as the loop floor) is *not* subtracted: figures are what a caller's loop would cost,
and comparable with others measured in that common way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from types import CodeType, FunctionType
from typing import Any

from .model import Context

# Names are bound as defaults, so that they are fast locals in every loop.
_SYNC = """
def loop(inputs, *, _clock=_clock{names}):
    start = _clock()
    for {item} in inputs:
        {statement}
    return _clock() - start
"""
_ASYNC = _SYNC.replace("def loop", "async def loop")
_LEAST = 64

# A prepared list, or a function that makes a new list of so many inputs before each sample.
Inputs = Sequence[Any] | Callable[[int], Sequence[Any]]


def compile_loop(
    statement: str, names: dict[str, Any], *, item: str = "x", is_async: bool = False
) -> Callable[[Sequence[Any]], Any]:
    """Return `loop(inputs)`, which runs `statement` for each `item` and returns nanoseconds."""
    bound = "".join(f", {name}={name}" for name in names)
    body = statement.replace("\n", "\n        ")
    source = (_ASYNC if is_async else _SYNC).format(names=bound, item=item, statement=body)
    scope: dict[str, Any] = {"_clock": perf_counter_ns, **names}
    exec(compile(source, f"<loop: {statement}>", "exec"), scope)
    loop: Callable[[Sequence[Any]], Any] = scope["loop"]
    return loop


class TimedLoop:
    """A sampler: nanoseconds for one turn of a loop, over as many inputs as fill a sample."""

    def __init__(
        self,
        context: Context,
        statement: str,
        names: dict[str, Any],
        inputs: Inputs,
        *,
        item: str = "x",
    ) -> None:
        self._loop = self._compile(statement, names, item)
        self._code: CodeType = self._loop.__code__
        self._fresh = inputs if callable(inputs) else None
        self._inputs = inputs(_LEAST) if callable(inputs) else inputs
        self._count = _LEAST
        self._calibrate(context.sample_ns)

    def _compile(self, statement: str, names: dict[str, Any], item: str) -> FunctionType:
        loop = compile_loop(statement, names, item=item)
        assert isinstance(loop, FunctionType)
        return loop

    def _elapsed(self, inputs: Sequence[Any]) -> int:
        elapsed: int = self._loop(inputs)
        return elapsed

    def _calibrate(self, sample_ns: int) -> None:
        first = self._fresh(_LEAST) if self._fresh else self._inputs[:_LEAST]
        # Twice: what the first run warms (caches, adaptive code) must not count.
        self._elapsed(first)
        second = self._fresh(_LEAST) if self._fresh else first
        each = max(1.0, self._elapsed(second) / len(second))
        self._count = max(_LEAST, int(sample_ns / each))
        if self._fresh is None:
            self._inputs = self._inputs[: self._count]

    def renew(self) -> None:
        """Take a new copy of the loop's code, without what CPython learned about the old one."""
        old = self._loop
        self._loop = FunctionType(self._code.replace(), old.__globals__, old.__name__)
        self._loop.__kwdefaults__ = old.__kwdefaults__

    def __call__(self) -> float:
        if self._fresh:
            inputs = self._fresh(self._count)
        else:
            inputs = self._inputs
            # The contender before has left its own data in the processor's caches: without this, a
            # tenth of what is measured is the way of ours back into them, for everybody alike.
            self._elapsed(inputs)
        return self._elapsed(inputs) / len(inputs)


class AsyncTimedLoop(TimedLoop):
    """The same for a statement with `await` in it, run in a task on the given event loop."""

    def __init__(
        self,
        context: Context,
        event_loop: asyncio.AbstractEventLoop,
        statement: str,
        names: dict[str, Any],
        inputs: Inputs,
        *,
        item: str = "x",
    ) -> None:
        self._event_loop = event_loop
        super().__init__(context, statement, names, inputs, item=item)

    def _compile(self, statement: str, names: dict[str, Any], item: str) -> FunctionType:
        loop = compile_loop(statement, names, item=item, is_async=True)
        assert isinstance(loop, FunctionType)
        return loop

    def _elapsed(self, inputs: Sequence[Any]) -> int:
        elapsed: int = self._event_loop.run_until_complete(self._loop(inputs))
        return elapsed


def new_event_loop(context: Context) -> asyncio.AbstractEventLoop:
    """Return a loop that is closed, with what is left on it, when the row is done."""
    loop = asyncio.new_event_loop()

    async def stop() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close() -> None:
        loop.run_until_complete(stop())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    context.cleanup.callback(close)
    return loop
