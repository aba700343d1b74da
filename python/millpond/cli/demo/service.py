"""The small service that the demo runs: one decorated function that asks a model a question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from millpond.cli.demo.answer import Answer, TokenUsage
from millpond.cli.demo.completions import BYTES_PER_TOKEN, LENGTH_HEADER
from millpond.cli.demo.pricing import Pricer
from millpond.cli.demo.questions import PASSAGES
from millpond.cli.demo.traffic import Workload

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

    from millpond.cache._types import WithCache

NAMESPACE = "millpond-demo"  # What the entries begin with where several processes share them.
MAX_OPEN_CALLS = 256  # Connections to the provider at once; further loads wait their turn.
REAL_INSTRUCTIONS = "You answer on the help line of a flour mill. Answer in two sentences."
REAL_COMPLETION_LIMIT = 200

# Which call of the demo runs this code. A load runs in a copy of its leader's context, so an answer
# can say which call paid for it.
CURRENT_CALL: ContextVar[int] = ContextVar("CURRENT_CALL", default=-1)


class Ask(Protocol):
    """The decorated function."""

    def __call__(self, question: str) -> Awaitable[Answer]: ...

    def cache_info(self) -> Any: ...


def cost_of(answer: Answer) -> float:
    """Tell the cache what an answer cost, in dollars."""
    return answer.dollars or 0.0


def make_ask(
    client: AsyncOpenAI,
    workload: Workload,
    *,
    model: str,
    pricer: Pricer,
    with_cache: WithCache | None = None,
) -> Ask:
    """Return the service's function, calling the local provider through `client`.

    Args:
        with_cache: That of an Engine; None for `mp.with_cache`.
    """

    async def complete(question: str) -> ChatCompletion:
        shape = workload.shape(question)
        headers: dict[str, str] = {}
        if shape.completion_tokens is not None:
            headers[LENGTH_HEADER] = str(shape.completion_tokens)
        return await client.chat.completions.create(
            model=model,
            messages=grounded_messages(question, shape.prompt_tokens),
            extra_headers=headers,
        )

    return _cached(complete, pricer, with_cache)


def make_real_ask(client: AsyncOpenAI, *, model: str, pricer: Pricer) -> Ask:
    """Return the service's function for a provider that costs money: short prompts and answers."""

    async def complete(question: str) -> ChatCompletion:
        return await client.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": REAL_INSTRUCTIONS},
                {"role": "user", "content": question},
            ],
            max_completion_tokens=REAL_COMPLETION_LIMIT,
        )

    return _cached(complete, pricer)


def _cached(
    complete: Callable[[str], Awaitable[ChatCompletion]],
    pricer: Pricer,
    with_cache: WithCache | None = None,
) -> Ask:
    import millpond as mp

    open_calls = asyncio.Semaphore(MAX_OPEN_CALLS)

    @(with_cache or mp.with_cache)(ttl="10m", cost=cost_of, namespace=NAMESPACE)
    async def ask(question: str) -> Answer:
        """Answer a question; equal ones within ten minutes are paid once."""
        async with open_calls:
            started = perf_counter()
            reply = await complete(question)
        landed = perf_counter()
        usage = usage_of(reply)
        return Answer(
            text=reply.choices[0].message.content or "",
            usage=usage,
            dollars=pricer.dollars(usage),
            seconds=landed - started,
            landed_at=landed,
            paid_by=CURRENT_CALL.get(),
        )

    return ask


def usage_of(reply: ChatCompletion) -> TokenUsage:
    """Return the token usage that the reply reports; no report counts as no token."""
    usage = reply.usage
    if usage is None:
        return TokenUsage(prompt_tokens=0, completion_tokens=0)
    details = usage.prompt_tokens_details
    return TokenUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=(details.cached_tokens or 0) if details is not None else 0,
    )


def grounded_messages(question: str, prompt_tokens: int) -> list[ChatCompletionMessageParam]:
    """Return a prompt of `prompt_tokens` tokens: looked-up passages, then the question.

    A question that is longer by itself goes alone.
    """
    room = prompt_tokens * BYTES_PER_TOKEN - len(question.encode())
    if room <= 0:
        return [{"role": "user", "content": question}]
    facts = " ".join(PASSAGES) + " "
    start = Random(question).randrange(len(facts))
    repeated = facts * (2 + room // len(facts))
    return [
        {"role": "system", "content": repeated[start : start + room]},
        {"role": "user", "content": question},
    ]
