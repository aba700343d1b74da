"""What a call of the demo's service gets back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The tokens that a reply says it used; `cached_tokens` are part of `prompt_tokens`."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, what it cost, and when it was ready.

    Args:
        text: The answer.
        usage: Its tokens.
        dollars: Its price, or None where that is unknown.
        seconds: How long the provider took.
        landed_at: When it was ready, on `time.perf_counter`.
        paid_by: The number of the call that paid for it.
    """

    text: str
    usage: TokenUsage
    dollars: float | None
    seconds: float
    landed_at: float
    paid_by: int
