"""What a key of a chat payload costs, beside orjson with sorted keys and SHA-256.

Run `python tests/benchmarks/bench_keys.py`. Everything is measured in one process, in many short
turns, and the best turns are compared: what a busy machine adds is never negative.
"""

import hashlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

from millpond import _engine

WORDS = ("the", "stream", "a", "pond", "stores", "so", "that", "wheel", "never", "waits", "mill")


def sentence(rng: random.Random, size: int) -> str:
    """Words up to `size` characters."""
    text = ""
    while len(text) < size:
        text += rng.choice(WORDS) + " "
    return text[:size]


def chat_payload(rng: random.Random, messages: int, size: int) -> dict[str, Any]:
    """Arguments of a chat completion: `messages` texts of `size` characters and one tool."""
    roles = ("user", "assistant")
    return {
        "model": "gpt-4o-mini",
        "temperature": 0.2,
        "top_p": 1.0,
        "max_tokens": 512,
        "stream": False,
        "user": "u-20481",
        "messages": [{"role": "system", "content": sentence(rng, 600)}]
        + [{"role": roles[i % 2], "content": sentence(rng, size)} for i in range(messages)],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "lookup",
                    "parameters": {
                        "type": "object",
                        "properties": {"q": {"type": "string"}, "n": {"type": "integer"}},
                        "required": ["q"],
                    },
                },
            }
        ],
    }


def nanoseconds(function: Callable[[], object], calls: int) -> float:
    """The time of one call."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        function()
    return (time.perf_counter_ns() - start) / calls


def main() -> None:
    """Prints one line for each payload and key."""
    rng = random.Random(3)
    payloads = {
        "4 KB, 13 messages": chat_payload(rng, 12, 240),
        "4 KB, 5 messages": chat_payload(rng, 4, 740),
        "64 KB, 41 messages": chat_payload(rng, 40, 1600),
    }
    python = sys.version.split()[0]
    print(f"CPython {python}, orjson {orjson.__version__}; ns a call, best of 100 turns")
    for label, payload in payloads.items():
        ways: dict[str, Callable[[], object]] = {
            "orjson+sha256": lambda p=payload: hashlib.sha256(
                orjson.dumps(p, option=orjson.OPT_SORT_KEYS)
            ).digest(),
            "fingerprint": lambda p=payload: _engine.fingerprint(p),
            "shared key": lambda p=payload: _engine.shared_key(p),
            "an empty call": lambda: _engine.fingerprint(None),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(100):
            for way, function in ways.items():
                times[way].append(nanoseconds(function, 200))
        best = {way: min(each) for way, each in times.items()}
        peer = best["orjson+sha256"]
        for way, least in best.items():
            net = least - best["an empty call"]
            print(f"{label:20} {way:14} {least:8.0f}  ratio {least / peer:.3f}", end="")
            print(f"  without the binding's own {net / peer:.3f}" if "f" in way[:1] else "")


if __name__ == "__main__":
    main()
