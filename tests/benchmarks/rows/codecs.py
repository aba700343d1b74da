"""What it costs to make an entry of a value and to read one, by size and type of the value.

"millpond" makes and reads whole entries as tiers keep them: header, two stamps, checksums.
"millpond tagged" is the encoding alone, which is what the peers do; those that would not give the
value back in its types (a tuple as a list, a date as text) are left out of that row.
"""

from __future__ import annotations

import datetime
import decimal
import json
import pickle
import random
import uuid
from collections.abc import Callable
from typing import Any

from .. import inputs, peers
from ..loops import TimedLoop
from ..model import Contender, Context, Row, Sampler, Target, Unavailable

# An encoder and a decoder.
Pair = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]
_MOST = 1 << 26
_STAMPS = [("0123456789abcdef" * 2, 1_700_000_000_000_001), ("f" * 32, 1_700_000_000_000_002)]


def _entry(**options: Any) -> Callable[[], Pair]:
    def make() -> Pair:
        codec = peers.need("millpond.io.codecs").Codec(**options)

        def encode(value: Any) -> bytes:
            data: bytes = codec.encode(
                value, key="k", stored_us=1, expires_us=2, stamps=_STAMPS, cost=0.002
            )
            return data

        def decode(data: bytes) -> Any:
            if codec.head(data).stamps[0][1] != _STAMPS[0][1]:
                raise AssertionError
            return codec.decode(data, key="k")

        return encode, decode

    return make


def _tagged() -> Pair:
    engine = peers.need("millpond._engine")
    return (
        lambda value: engine.encode_tagged(value, _MOST),
        lambda data: engine.decode_tagged(data, False),
    )


def _pickle() -> Pair:
    return lambda value: pickle.dumps(value, protocol=5), pickle.loads


def _json() -> Pair:
    return lambda value: json.dumps(value).encode(), json.loads


def _orjson() -> Pair:
    orjson = peers.need("orjson")
    return orjson.dumps, orjson.loads


def _msgpack() -> Pair:
    msgpack = peers.need("msgspec").msgpack
    return msgpack.Encoder().encode, msgpack.Decoder().decode


def _keyring() -> Any:
    return peers.need("millpond.io.encryption").Keyring([bytes(range(32))])


def _encrypted() -> Pair:
    return _entry(compress=False, keyring=_keyring())()


def _signed() -> Pair:
    return _entry(compress=False, codec="pickle", secret=bytes(range(32)))()


# Name in the table -> (distribution, maker).
_CONTENDERS: dict[str, tuple[str, Callable[[], Pair]]] = {
    "millpond": ("millpond", _entry(compress=False)),
    "millpond zstd": ("millpond", _entry()),
    "millpond encrypted": ("millpond", _encrypted),
    "millpond signed pickle": ("millpond", _signed),
    "millpond tagged": ("millpond", _tagged),
    "pickle": ("", _pickle),
    "msgspec msgpack": ("msgspec", _msgpack),
    "orjson": ("orjson", _orjson),
    "json": ("", _json),
}


def _user() -> dict[str, Any]:
    return {"id": 20_481, "name": "Ada Lovelace", "score": 1.5, "tags": ["a", "b"], "active": True}


def _rows_of_a_table() -> list[dict[str, Any]]:
    return [
        {"id": 1_000 + i, "name": f"user {i}", "score": i * 0.5, "active": i % 3 == 0}
        for i in range(100)
    ]


def _order() -> dict[str, Any]:
    """A record in the types of the standard library, which most encodings turn into text."""
    return {
        "id": uuid.UUID(int=0x1234_5678_1234_5678_1234_5678),
        "at": datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC),
        "total": decimal.Decimal("129.90"),
        "lines": [(1, decimal.Decimal("64.95")), (1, decimal.Decimal("64.95"))],
        "flags": {"paid", "gift"},
    }


def _embedding() -> Any:
    numpy = peers.need("numpy")
    return numpy.random.default_rng(inputs.SEED).standard_normal(1536, dtype=numpy.float32)


def _text(size: int) -> Callable[[], str]:
    def make() -> str:
        words = inputs.chat_payload()["messages"][0]["content"].split()
        drawn = random.Random(inputs.SEED).choices(words, k=size // 3)
        return " ".join(drawn)[:size]

    return make


# Name, title, value, and the row's targets for writing and reading.
_VALUES: list[tuple[str, str, Callable[[], Any]]] = [
    ("str", "a str of 40 characters", _text(40)),
    ("dict", "a dict of five small values", _user),
    ("order", "a UUID, a datetime, Decimals, tuples and a set in a dict", _order),
    ("chat", "a chat request of 4 KB", inputs.chat_payload),
    ("table", "100 dicts of four values", _rows_of_a_table),
    ("floats", "a list of 1,000 floats", lambda: [i * 0.1 for i in range(1_000)]),
    ("embedding", "a numpy array of 1,536 float32", _embedding),
    ("text-10k", "a str of 10 KB", _text(10_000)),
    ("text-1m", "a str of 1 MB", _text(1_000_000)),
]


def _same(a: Any, b: Any) -> bool:
    """Whether an encoding gave back a value in its types, as far as these rows can differ."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool((a == b).all()) if hasattr(a, "dtype") else bool(a == b)


def _row(way: str, name: str, title: str, make_value: Callable[[], Any]) -> Row:
    def contender(who: str, peer: str, make: Callable[[], Pair]) -> Contender:
        def prepare(context: Context) -> Sampler:
            encode, decode = make()
            value = make_value()
            try:
                data = encode(value)
                back = decode(data)
            except (TypeError, ValueError) as error:
                raise Unavailable(f"it does not take the value: {type(error).__name__}") from error
            if not _same(value, back):
                raise Unavailable("the value comes back in other types")
            context.notes["bytes"] = len(data)
            function, given = (encode, value) if way == "encode" else (decode, data)
            return TimedLoop(context, "f(x)", {"f": function}, [given] * inputs.DRAWS)

        return Contender(who, prepare, peer)

    targets: tuple[Target, ...] = ()
    if way == "decode" and name in ("str", "dict"):
        targets = (Target(2_000.0),)  # what a hit may spend on its head and its value
    elif way == "decode":
        targets = (Target(1.25, of="pickle", whose="millpond tagged"),)
    return Row(
        name=f"codec/{way}/{name}",
        title=f"{title}: {'from value to entry' if way == 'encode' else 'from entry to value'}",
        contenders=tuple(contender(who, *how) for who, how in _CONTENDERS.items()),
        baseline="pickle",
        targets=targets,
    )


def rows() -> list[Row]:
    return [_row(way, *value) for value in _VALUES for way in ("encode", "decode")]
