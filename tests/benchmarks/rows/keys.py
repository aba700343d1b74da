"""What it costs to make a key of a chat request of 4 KB, and to hit with it from end to end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from .. import inputs, peers
from ..loops import Inputs, TimedLoop
from ..model import Contender, Context, Row, Sampler, Target

# Makes the loop's statement and the names in it.
Make = Callable[[], tuple[str, dict[str, Any]]]


def _engine(function: str) -> Make:
    def make() -> tuple[str, dict[str, Any]]:
        engine = peers.need("millpond._engine")
        return "make_key(x)", {"make_key": getattr(engine, function)}

    return make


def _orjson() -> tuple[str, dict[str, Any]]:
    orjson = peers.need("orjson")
    names = {"dumps": orjson.dumps, "option": orjson.OPT_SORT_KEYS, "sha256": hashlib.sha256}
    return "sha256(dumps(x, option=option)).digest()", names


def _json() -> tuple[str, dict[str, Any]]:
    names = {"dumps": json.dumps, "sha256": hashlib.sha256}
    return "sha256(dumps(x, sort_keys=True).encode()).digest()", names


def _contender(name: str, peer: str, make: Make, sequence: Callable[[], Inputs]) -> Contender:
    def prepare(context: Context) -> Sampler:
        statement, names = make()
        return TimedLoop(context, statement, names, sequence())

    return Contender(name, prepare, peer)


def _row(name: str, title: str, function: str, sequence: Callable[[], Inputs], limit: float) -> Row:
    return Row(
        name=name,
        title=title,
        contenders=(
            _contender("millpond", "millpond", _engine(function), sequence),
            _contender("orjson+sha256", "orjson", _orjson, sequence),
            _contender("json+sha256", "", _json, sequence),
        ),
        baseline="orjson+sha256",
        targets=(Target(limit, of="orjson+sha256"),),
    )


def ask(request: dict[str, Any]) -> str:
    return "answer"


def ask_named(*, model: str, messages: list[Any], **settings: Any) -> str:
    return "answer"


def _hand_written(dumps: Callable[[Any], bytes], *, named: bool) -> Callable[..., Any]:
    """Return the cache that one writes in a service: serialise with sorted keys, hash, look up."""
    store: dict[bytes, str] = {}
    sha256 = hashlib.sha256

    def by_request(request: dict[str, Any]) -> str:
        key = sha256(dumps(request)).digest()
        try:
            return store[key]
        except KeyError:
            return store.setdefault(key, ask(request))

    def by_name(**request: Any) -> str:
        key = sha256(dumps(request)).digest()
        try:
            return store[key]
        except KeyError:
            return store.setdefault(key, ask_named(**request))

    return by_name if named else by_request


def _orjson_dumps() -> Callable[[Any], bytes]:
    orjson = peers.need("orjson")
    dumps, option = orjson.dumps, orjson.OPT_SORT_KEYS
    return lambda value: dumps(value, option=option)


def _json_dumps() -> Callable[[Any], bytes]:
    return lambda value: json.dumps(value, sort_keys=True).encode()


def _hit_row(name: str, title: str, statement: str, *, named: bool) -> Row:
    payload = inputs.chat_payload()

    def contender(who: str, peer: str, make: Callable[[], Callable[..., Any]]) -> Contender:
        def prepare(context: Context) -> Sampler:
            f = make()
            fresh = inputs.payload_copies(payload)
            return TimedLoop(context, statement, {"f": f}, fresh)

        return Contender(who, prepare, peer)

    function = ask_named if named else ask
    return Row(
        name=name,
        title=title,
        contenders=(
            contender("millpond", "millpond", lambda: peers.millpond()(function, 1_000)),
            contender(
                "orjson+sha256", "orjson", lambda: _hand_written(_orjson_dumps(), named=named)
            ),
            contender("json+sha256", "", lambda: _hand_written(_json_dumps(), named=named)),
        ),
        baseline="orjson+sha256",
        targets=(Target(0.25, of="orjson+sha256"),),
    )


def rows() -> list[Row]:
    payload = inputs.chat_payload()
    one = [payload] * inputs.DRAWS

    def same() -> Inputs:
        return one

    def new() -> Inputs:
        return inputs.payload_copies(payload)

    return [
        _row("key/chat", "L1 key of one 4 KB chat payload", "fingerprint", same, 0.2),
        _row("key/chat-new", "the same, a newly parsed payload each time", "fingerprint", new, 0.2),
        _row("key/shared", "shared key of one 4 KB chat payload", "shared_key", same, 1.0),
        _row("key/shared-new", "the same, a newly parsed payload", "shared_key", new, 1.0),
        _hit_row("key/hit", "whole hit `f(request)`, newly parsed payload", "f(x)", named=False),
        _hit_row("key/hit-named", "the same as `f(**request)`", "f(**x)", named=True),
    ]
