"""What the local provider answers: the chat completions of an invented model, without any network.

`parse_chat_request` checks a body as OpenAI's API does, `compose` writes the answer: its text, its
token counts and its latency follow `laws.py` and depend on nothing but the seed and the request, so
the same question always gets the same answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import cast

from millpond.cli.demo.laws import COMPLETION_TOKENS, LatencyLaw
from millpond.cli.demo.questions import PASSAGES

MODELS = ("gpt-4.1-mini", "gpt-4.1", "gpt-4o-mini", "gpt-4o", "gpt-5-mini", "gpt-5")
ROLES = ("developer", "system", "user", "assistant", "tool", "function")
BYTES_PER_TOKEN = 4  # The rule of thumb for English; the provider counts exactly by it.
LENGTH_HEADER = "x-demo-completion-tokens"  # A replayed trace says how long each answer was.
MAX_COMPLETION_TOKENS = 1_000_000


class ApiError(Exception):
    """An error that the API answers with, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {"message": message, "type": kind, "param": param, "code": code},
        }


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request for a chat completion."""

    model: str
    prompt: str
    limit: int | None
    stream: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer and how long it takes: seconds to the first token, then seconds a token."""

    id: str
    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    first_token_seconds: float
    token_seconds: float

    @property
    def seconds(self) -> float:
        """How long the whole answer takes."""
        return self.first_token_seconds + self.token_seconds * max(0, self.completion_tokens - 1)

    @property
    def usage(self) -> dict[str, object]:
        """The `usage` object of the response."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }


def count_tokens(text: str) -> int:
    """Count tokens as the provider does: four bytes each, the last one perhaps shorter."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Check the body of `POST /v1/chat/completions`.

    Raises:
        ApiError: 400 or 404, saying which parameter is wrong and what it may be.
    """
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(parsed, dict):
        raise ApiError(400, "The body must be a JSON object.")
    fields = cast(dict[str, object], parsed)
    model = fields.get("model")
    if not isinstance(model, str):
        raise ApiError(400, "You must provide a model parameter.", param="model")
    if model not in MODELS:
        raise ApiError(
            404,
            f"The model {model[:80]!r} does not exist here; there are {', '.join(MODELS)}.",
            param="model",
            code="model_not_found",
        )
    if fields.get("n") not in (None, 1):
        raise ApiError(400, "n must be 1.", param="n")
    options = fields.get("stream_options")
    usage = isinstance(options, dict) and cast(dict[str, object], options).get("include_usage")
    return ChatRequest(
        model=model,
        prompt=_prompt(fields.get("messages")),
        limit=_limit(fields, "max_completion_tokens") or _limit(fields, "max_tokens"),
        stream=_flag(fields, "stream"),
        include_usage=usage is True,
    )


def _flag(fields: dict[str, object], name: str) -> bool:
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return value is True
    raise ApiError(400, f"{name} must be true or false.", param=name)


def _limit(fields: dict[str, object], name: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ApiError(400, f"{name} must be a whole number of at least 1.", param=name)
    return value


def _prompt(messages: object) -> str:
    """Check the messages and join their texts."""
    if not isinstance(messages, list) or not messages:
        raise ApiError(400, "messages must be a list of at least one message.", param="messages")
    texts: list[str] = []
    for index, message in enumerate(cast(list[object], messages)):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise ApiError(400, f"{where} must be an object.", param=where)
        fields = cast(dict[str, object], message)
        if fields.get("role") not in ROLES:
            allowed = ", ".join(ROLES)
            raise ApiError(400, f"{where}.role must be one of {allowed}.", param=f"{where}.role")
        texts += _texts(fields.get("content"), f"{where}.content")
    return "".join(texts)


def _texts(content: object, where: str) -> list[str]:
    """Return the text parts of a message; other parts count for no token here."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        parts = cast(list[object], content)
        texts = [
            cast(dict[str, object], part).get("text", "") if isinstance(part, dict) else None
            for part in parts
        ]
        if all(isinstance(text, str) for text in texts):
            return cast(list[str], texts)
    raise ApiError(400, f"{where} must be a string or a list of parts.", param=where)


def parse_length_header(value: str | None) -> int | None:
    """Read the header by which a replayed trace says how long the answer was."""
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 12):
        raise ApiError(400, f"{LENGTH_HEADER} must be a whole number.", param=LENGTH_HEADER)
    if int(value) > MAX_COMPLETION_TOKENS:
        allowed = f"at most {MAX_COMPLETION_TOKENS}"
        raise ApiError(400, f"{LENGTH_HEADER} must be {allowed}.", param=LENGTH_HEADER)
    return int(value)


def compose(
    request: ChatRequest, *, length: int | None, seed: int, law: LatencyLaw, speed: float
) -> Completion:
    """Write the answer to `request`.

    Args:
        request: What was asked.
        length: The answer's length in tokens; None draws it from the published law.
        seed: The same seed and request give the same answer.
        law: How long a model takes.
        speed: How many times faster than the law this provider answers.
    """
    digest = sha256(f"{seed}/{request.model}/".encode())
    digest.update(request.prompt.encode("utf-8", "surrogatepass"))
    random = Random(digest.digest())
    drawn = COMPLETION_TOKENS.draw(random)
    wanted = drawn if length is None else length
    tokens = wanted if request.limit is None else min(wanted, request.limit)
    prompt_tokens = count_tokens(request.prompt)
    first, each = law.draw(prompt_tokens, random)
    return Completion(
        id=f"chatcmpl-{random.getrandbits(96):024x}",
        model=request.model,
        text=_text(tokens, random),
        prompt_tokens=prompt_tokens,
        completion_tokens=tokens,
        finish_reason="stop" if tokens == wanted else "length",
        first_token_seconds=first / speed,
        token_seconds=each / speed,
    )


def _text(tokens: int, random: Random) -> str:
    """Return sentences of exactly `tokens` tokens (they are ASCII, four characters a token)."""
    wanted = tokens * BYTES_PER_TOKEN
    sentences: list[str] = []
    length = 0
    while length < wanted:
        sentences.append(random.choice(PASSAGES))
        length += len(sentences[-1]) + 1
    return " ".join(sentences)[:wanted]
