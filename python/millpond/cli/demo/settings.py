"""The demo's options: their names, defaults, limits and help texts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SECONDS = 60.0
DEFAULT_RATE = 40.0  # Calls a second of the demo's own traffic.
TRACE_RATE = 100.0  # Calls a second at most when a trace is replayed.
REAL_RATE = 1.0  # Calls a second to a provider that costs money.
DEFAULT_SPEED = 4.0  # Times faster than in life, in a run of a minute.
DEFAULT_WORKERS = 4
MAX_WORKERS = 64
DEFAULT_MODEL = "gpt-4.1-mini"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options as given; None where the default depends on others.

    `redis` is "" for a redis-server of the demo's own.
    """

    seconds: float
    seed: int
    trace: Path | None
    rate: float | None
    speed: float | None
    model: str
    real: bool
    budget: float
    json: bool
    progress: bool
    plain: bool
    svg: Path | None
    redis: str | None = None
    workers: int | None = None

    @property
    def shares(self) -> bool:
        """Whether several processes share a Redis."""
        return self.redis is not None or self.workers is not None

    @property
    def call_rate(self) -> float:
        """Calls a second: as given, else the default of the kind of run."""
        if self.rate is not None:
            return self.rate
        if self.real:
            return REAL_RATE
        return TRACE_RATE if self.trace is not None else DEFAULT_RATE

    @property
    def provider_speed(self) -> float:
        """How much faster than in life the provider is; short runs need a faster one."""
        if self.speed is not None:
            return self.speed
        return DEFAULT_SPEED * max(1.0, DEFAULT_SECONDS / self.seconds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the demo's options."""
    add = parser.add_argument
    add(
        "--seconds",
        type=_number("seconds", 1, 86_400),
        default=DEFAULT_SECONDS,
        metavar="N",
        help="how long it runs (default 60)",
    )
    add("--seed", type=int, default=0, metavar="N", help="same seed, same traffic (default 0)")
    add(
        "--rate",
        type=_number("calls a second", 0.01, 1_000),
        metavar="N",
        help=f"calls a second (default {DEFAULT_RATE:g}; with --trace the most, "
        f"{TRACE_RATE:g}; with --real {REAL_RATE:g})",
    )
    add(
        "--trace",
        type=Path,
        metavar="FILE",
        help="replay a trace: .csv (time, prompt tokens, completion tokens) or .jsonl (timestamp, "
        "input_length, output_length, hash_ids), also gzipped",
    )
    add(
        "--redis",
        nargs="?",
        const="",
        metavar="URL",
        help="several processes share a Redis: that of the URL, else one that the demo starts, "
        "kills and starts again",
    )
    add(
        "--workers",
        type=_whole("workers", 1, MAX_WORKERS),
        metavar="N",
        help=f"how many processes share it (default {DEFAULT_WORKERS}); implies --redis",
    )
    add("--json", action="store_true", help="print one JSON report at the end, nothing else")
    add("--progress", action="store_true", help="with --json: progress lines on standard error")
    add("--plain", action="store_true", help="lines of text even on a terminal")
    add(
        "--speed",
        type=_number("times", 0.1, 10_000),
        metavar="N",
        help="how many times faster than in life the local provider answers",
    )
    add("--model", default=DEFAULT_MODEL, metavar="NAME", help=f"model (default {DEFAULT_MODEL})")
    add(
        "--real",
        action="store_true",
        help="call the real API with OPENAI_API_KEY (and OPENAI_BASE_URL); this COSTS MONEY",
    )
    add(
        "--budget",
        type=_number("dollars", 0.001, 1_000),
        default=0.50,
        metavar="N",
        help="with --real: dollars to spend at most (default 0.50)",
    )
    add("--svg", type=Path, metavar="FILE", help="save the last screen as an SVG picture")


def read(arguments: argparse.Namespace) -> Settings:
    """Return the options that were parsed."""
    return Settings(
        seconds=arguments.seconds,
        seed=arguments.seed,
        trace=arguments.trace,
        rate=arguments.rate,
        speed=arguments.speed,
        model=arguments.model,
        real=arguments.real,
        budget=arguments.budget,
        json=arguments.json,
        progress=arguments.progress,
        plain=arguments.plain,
        svg=arguments.svg,
        redis=arguments.redis,
        workers=arguments.workers,
    )


def _whole(unit: str, low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` to `high`, for argparse."""

    def read_whole(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: allowed are {low} to {high} {unit}")
        return int(text)

    return read_whole


def _number(unit: str, low: float, high: float) -> Callable[[str], float]:
    """Return a reader of numbers from `low` to `high`, for argparse."""

    def read_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: allowed are {low:g} to {high:g} {unit}")
        return value

    return read_number
