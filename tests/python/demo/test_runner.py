"""One run in this process: how calls are told apart and counted, and how a run ends."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest

from millpond.cli.demo.answer import Answer, TokenUsage
from millpond.cli.demo.completions import MODELS, count_tokens
from millpond.cli.demo.pricing import Pricer
from millpond.cli.demo.report import Outcome, Report, Setting
from millpond.cli.demo.runner import HOPELESS_FAILURES, Run, engine_figures, outcome_of
from millpond.cli.demo.service import CURRENT_CALL, grounded_messages, make_ask
from millpond.cli.demo.session import interrupts_set
from millpond.cli.demo.traffic import Call, Shape, Workload
from millpond.cli.failure import CommandError

from .conftest import Running

pytestmark = pytest.mark.anyio
LONG = 60.0  # Seconds; no test waits for them.


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class QuietView:
    """A view that remembers what it was told."""

    interval = 0.001

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def update(self, report: Report) -> None:
        self.told.append("update")

    def stop(self) -> None:
        self.told.append("stop")

    def finish(self, report: Report) -> None:
        self.told.append("finish")


class DictAsk:
    """A cache of a few lines: a dict of futures, so equal calls wait for the first."""

    def __init__(self, load: Callable[[str], Awaitable[None]]) -> None:
        self._load = load
        self._results: dict[str, asyncio.Task[Answer]] = {}

    async def __call__(self, question: str) -> Answer:
        if question not in self._results:
            self._results[question] = asyncio.ensure_future(self._answer(question))
        return await asyncio.shield(self._results[question])

    async def _answer(self, question: str) -> Answer:
        began = perf_counter()
        await self._load(question)
        ended = perf_counter()
        return Answer(question, TokenUsage(1, 1), 0.25, ended - began, ended, CURRENT_CALL.get())

    def cache_info(self) -> Any:
        return SimpleNamespace(hits=1, cost_saved=0.5, maxsize=None)


def run(
    ask: DictAsk,
    plan: Iterable[Call],
    *,
    seconds: float = LONG,
    stop: asyncio.Event | None = None,
    budget: float | None = None,
    view: QuietView | None = None,
) -> Run:
    return Run(
        Setting(seconds, "zipf", (), "none", MODELS[0], 1.0, 1.0, 0),
        Workload(kind="zipf", notes=(), seconds=seconds, rate=1.0, plan=plan, speed=1.0),
        ask,
        view or QuietView(),
        stop=stop or asyncio.Event(),
        budget=budget,
    )


async def nothing(question: str) -> None:
    """A load that is over at once."""


async def forever(question: str) -> None:
    await asyncio.get_running_loop().create_future()


def test_an_outcome_is_told_by_who_paid_and_when() -> None:
    answer = Answer("text", TokenUsage(1, 1), 0.0, 1.0, landed_at=10.0, paid_by=3)

    assert outcome_of(answer, call=3, began=9.0) is Outcome.MISS
    assert outcome_of(answer, call=4, began=9.999) is Outcome.COALESCED
    assert outcome_of(answer, call=4, began=10.0) is Outcome.HIT


def test_the_engine_s_figures_are_those_it_has() -> None:
    assert engine_figures(DictAsk(nothing)) == {"hits": 1, "cost_saved": 0.5}


async def test_every_call_is_one_of_paid_coalesced_and_hit() -> None:
    gate = asyncio.Event()
    begun: list[str] = []

    async def gated(question: str) -> None:
        begun.append(question)
        await gate.wait()

    def plan() -> Iterator[Call]:
        yield from (Call(0.0, "a"), Call(0.0, "a"), Call(0.0, "b"), Call(0.0, "a"))
        gate.set()  # The calls so far are under way; those that follow find their answers.
        yield from (Call(0.05, "a"), Call(0.05, "b"), Call(0.05, "c"))

    view = QuietView()
    report = await run(DictAsk(gated), plan(), view=view).to_end()

    assert sorted(begun) == ["a", "b", "c"]
    assert (report.misses, report.coalesced, report.hits) == (3, 2, 2)
    assert (report.ended, report.unfinished, report.failed) == ("traffic", 0, 0)
    assert (report.dollars_spent, report.dollars_saved) == (0.75, 1.0)
    assert (view.told[0], view.told[-1]) == ("start", "stop")


async def test_calls_still_open_at_the_end_are_counted_apart() -> None:
    report = await run(DictAsk(forever), [Call(0.0, "a"), Call(0.0, "b")], seconds=0.05).to_end()

    assert (report.ended, report.unfinished, report.calls, report.misses) == ("time", 2, 2, 0)


async def test_stopping_ends_the_run_with_its_report() -> None:
    stop = asyncio.Event()
    view = QuietView()

    async def stops(question: str) -> None:
        stop.set()
        await forever(question)

    report = await run(DictAsk(stops), [Call(0.0, "a")], stop=stop, view=view).to_end()

    assert (report.ended, report.unfinished) == ("interrupted", 1)
    assert report.elapsed_seconds < LONG
    assert view.told[-1] == "stop"


async def test_the_budget_ends_the_run_at_the_call_that_reaches_it() -> None:
    calls = [Call(0.0, str(number)) for number in range(100)]
    report = await run(DictAsk(nothing), [*calls, Call(LONG, "late")], budget=0.5).to_end()

    assert report.ended == "budget"
    assert report.dollars_spent is not None
    assert 0.5 <= report.dollars_spent < 25


async def test_a_run_in_which_nothing_succeeds_gives_up_and_says_why() -> None:
    async def refuses(question: str) -> None:
        raise PermissionError("no such account")

    calls = [Call(0.0, str(number)) for number in range(HOPELESS_FAILURES)]
    view = QuietView()
    with pytest.raises(CommandError, match=r"none succeeded: PermissionError: no such account"):
        await run(DictAsk(refuses), [*calls, Call(LONG, "late")], view=view).to_end()

    assert view.told[-1] == "stop"


async def test_a_failure_among_successes_is_only_counted() -> None:
    async def odd(question: str) -> None:
        if question.startswith("bad"):
            raise ValueError(question)

    calls = [Call(0.0, "good"), *(Call(0.0, f"bad {number}") for number in range(20))]
    report = await run(DictAsk(odd), calls).to_end()

    assert (report.misses, report.failed, report.calls) == (1, 20, 21)
    assert str(report.last_error).startswith("ValueError: bad")


async def test_a_watch_that_raises_ends_the_run() -> None:
    async def died() -> str:
        raise CommandError("the provider died")

    with pytest.raises(CommandError, match="the provider died"):
        await run(DictAsk(forever), [Call(0.0, "a")]).to_end(died())


async def test_the_first_ctrl_c_asks_and_the_second_aborts() -> None:
    stop = asyncio.Event()
    before = signal.getsignal(signal.SIGINT)
    with interrupts_set(stop):
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 1000, 14_050])
def test_a_prompt_is_as_long_as_planned_and_ends_with_its_question(tokens: int) -> None:
    question = "How do I make a poolish?"
    messages = grounded_messages(question, tokens)
    text = "".join(str(message["content"]) for message in messages if "content" in message)

    assert count_tokens(text) == max(tokens, count_tokens(question))
    assert text.endswith(question)
    assert messages == grounded_messages(question, tokens)


@pytest.fixture
async def client(provider: Running) -> AsyncIterator[Any]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=provider.url, api_key="k") as client:
        yield client


async def test_the_service_pays_once_and_carries_length_and_price(client: Any) -> None:
    planned = Workload(
        kind="csv-trace",
        notes=(),
        seconds=1.0,
        rate=1.0,
        plan=(),
        speed=1.0,
        shapes={"Prompt 1 of the trace": Shape(500, 40)},
    )
    ask = make_ask(client, planned, model=MODELS[0], pricer=Pricer(MODELS[0]))

    async def call(number: int) -> Answer:
        CURRENT_CALL.set(number)
        return await ask("Prompt 1 of the trace")

    together = await asyncio.gather(*(asyncio.create_task(call(number)) for number in range(20)))
    later = await asyncio.create_task(call(99))

    assert {answer.paid_by for answer in together} <= set(range(20))
    assert len({answer.landed_at for answer in [*together, later]}) == 1
    assert later.usage == TokenUsage(500, 40)
    assert later.dollars == pytest.approx((500 * 0.40 + 40 * 1.60) / 1e6)
    assert ask.cache_info().loads == 1
    assert ask.cache_info().cost_spent == pytest.approx(later.dollars)
