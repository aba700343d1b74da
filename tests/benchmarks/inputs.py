"""The keys and payloads that rows run on. Everything comes from fixed seeds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

SEED = 20_240_229
# How many draws of a distribution a row prepares; a sample takes as many as it has time for.
DRAWS = 10_000
# How many parsed payloads of some 12 KB a sample goes through.
WARM_PAYLOADS = 64


def string_key(number: int) -> str:
    return f"user:{number:06d}"


def universe(kind: str, size: int) -> list[Any]:
    """Return `size` different keys, "str" or "int". The ints are beyond CPython's cached ones."""
    if kind == "str":
        return [string_key(number) for number in range(size)]
    return [1_000 + number for number in range(size)]


def zipf(keys: Sequence[Any], *, exponent: float = 1.0, draws: int = DRAWS) -> list[Any]:
    """Return draws from `keys` in which the one of rank r is drawn with weight 1 / r^exponent.

    Ranks are dealt to the keys at random, so that the frequent ones do not lie side by side.
    """
    random_ = random.Random(SEED)
    ranked = list(keys)
    random_.shuffle(ranked)
    weights = [1.0 / (rank + 1) ** exponent for rank in range(len(ranked))]
    return random_.choices(ranked, weights=weights, k=draws)


def uniform(keys: Sequence[Any], *, draws: int = DRAWS) -> list[Any]:
    return random.Random(SEED).choices(keys, k=draws)


def copies(keys: Sequence[str]) -> list[str]:
    """Return equal strings that are other objects, as they come from a parsed request."""
    return [(key + " ")[:-1] for key in keys]


def new_keys(kind: str) -> Callable[[int], list[Any]]:
    """Return a function that hands out so many keys, none of which it ever hands out again."""
    first = 1_000_000

    def fresh(count: int) -> list[Any]:
        nonlocal first
        numbers = range(first, first + count)
        first += count
        return [string_key(number) for number in numbers] if kind == "str" else list(numbers)

    return fresh


_PROSE = (
    "the ledger of a mill lists what the stream brought and what the wheel took a sack of grain "
    "weighed at noon a gate half open two stones to be dressed before winter and a boy who counts"
)


def chat_payload() -> dict[str, Any]:
    """Return a chat request of about 4 KB as JSON: a model, settings, a tool, twelve messages."""
    random_ = random.Random(SEED)

    def prose(words: int) -> str:
        return " ".join(random_.choices(_PROSE.split(), k=words))

    messages = [{"role": "system", "content": prose(60)}]
    for turn in range(11):
        role = "assistant" if turn % 2 else "user"
        messages.append({"role": role, "content": prose(50)})
    tool = {
        "type": "function",
        "function": {
            "name": "weigh",
            "description": prose(12),
            "parameters": {
                "type": "object",
                "properties": {"sack": {"type": "string"}, "scale": {"type": "integer"}},
                "required": ["sack"],
            },
        },
    }
    return {
        "model": "a-model-of-some-kind",
        "temperature": 0.2,
        "max_tokens": 512,
        "stream": False,
        "messages": messages,
        "tools": [tool],
        "user": "user:000017",
    }


def payload_copies(payload: dict[str, Any]) -> Callable[[int], list[dict[str, Any]]]:
    """Return a function that parses so many new copies: no string in them was ever hashed.

    It gives no more than fit the CPU's second cache, since a request that was just parsed is there.
    """
    text = json.dumps(payload)

    def fresh(count: int) -> list[dict[str, Any]]:
        return [json.loads(text) for _ in range(min(count, WARM_PAYLOADS))]

    return fresh
