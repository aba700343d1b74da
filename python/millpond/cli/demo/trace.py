"""Replay of recorded traces: a CSV of calls or a JSONL of prompt-block hashes, gzipped or not.

CSV: `time, prompt tokens, completion tokens` (an optional header line; the time is an ISO date-time
or seconds), such as the Azure LLM inference traces. It does not say which prompts were equal, so
identities are drawn from a Zipf law.
JSONL: objects with `timestamp` (ms), `input_length`, `output_length` and `hash_ids`, such as the
Mooncake traces. Two prompts are equal when their whole lists of block hashes are.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import TextIO, cast

from millpond.cli.demo.traffic import ZIPF_EXPONENT, Call, Shape, Workload, Zipf
from millpond.cli.failure import CommandError

MAX_ROWS = 1_000_000
MAX_TOKENS = 1_000_000
MAX_LINE = 4_000_000
ZIPF_IDENTITIES = 10_000
SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


class TraceError(CommandError):
    """A trace file that cannot be replayed; says where, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A recorded call: `at` in seconds; `identity` tells equal prompts, None if unrecorded."""

    at: float
    prompt_tokens: int
    completion_tokens: int
    identity: bytes | None = None


def read_trace(path: Path) -> list[Row]:
    """Read the calls of a trace in order of time, the first at 0 seconds.

    Args:
        path: A file whose name ends in .csv, .csv.gz, .jsonl or .jsonl.gz.

    Raises:
        TraceError: The file is missing, damaged, empty, too long, or a line is not what it must be.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        allowed = ", ".join(SUFFIXES)
        raise TraceError(f"{path}: a trace is a file whose name ends in one of {allowed}")
    parse = _parse_json_line if ".jsonl" in name[-9:] else _parse_csv_line
    rows: list[Row] = []
    number = 0
    try:
        with _open_text(path) as file:
            for number, line in enumerate(_lines(file, path), start=1):
                row = _parse(parse, line, path=path, number=number)
                if row is not None:
                    rows.append(row)
                if len(rows) > MAX_ROWS:
                    raise TraceError(f"{path}: more than {MAX_ROWS:,} calls; cut the file")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        where = f", after line {number}" if number else ""
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}{where}: cannot be read: {why}") from error
    if not rows:
        raise TraceError(f"{path}: the trace holds no call")
    rows.sort(key=lambda row: row.at)
    start = rows[0].at
    return [
        Row(row.at - start, row.prompt_tokens, row.completion_tokens, row.identity) for row in rows
    ]


def trace_workload(path: Path, *, seconds: float, max_rate: float, seed: int) -> Workload:
    """Return a workload that replays the trace, compressed in time to fit.

    Args:
        path: See `read_trace`.
        seconds: The time to fit into; a shorter trace keeps its pace.
        max_rate: Mean calls per second at most; of a denser trace the first part is replayed, even
            slower than it was where that is needed.
        seed: Decides the identities of a CSV trace.

    Raises:
        TraceError: See `read_trace`.
    """
    rows = read_trace(path)
    kept = rows[: max(1, int(max_rate * seconds))]
    span = kept[-1].at
    cut = len(kept) < len(rows)
    speed = max(span / seconds, 1e-3 if cut else 1.0)
    recorded = kept[0].identity is not None
    identities = _recorded_identities(kept) if recorded else _zipf_identities(len(kept), seed)
    calls: list[Call] = []
    shapes: dict[str, Shape] = {}
    for row, identity in zip(kept, identities, strict=True):
        question = f"Prompt {identity + 1:,} of the trace"
        shapes.setdefault(question, Shape(row.prompt_tokens, row.completion_tokens))
        calls.append(Call(row.at / speed, question))
    taken = f"the first {len(kept):,} of" if cut else "all"
    notes = [
        f"Replay of {path.name}: {taken} {len(rows):,} calls; {span:,.0f} s run in "
        f"{span / speed:,.0f} s, at {speed:.1f} times its pace, arrivals and provider alike."
    ]
    if recorded:
        notes.append("Prompts are equal where all their recorded block hashes are.")
    else:
        notes.append(
            f"The trace records no prompts: which are equal is drawn from a Zipf law of exponent "
            f"{ZIPF_EXPONENT:g} over {ZIPF_IDENTITIES:,}, each as long as when first seen."
        )
    return Workload(
        kind="jsonl-trace" if recorded else "csv-trace",
        notes=tuple(notes),
        seconds=span / speed,
        rate=len(kept) / max(span / speed, 1.0),
        plan=tuple(calls),
        speed=speed,
        shapes=shapes,
        seed=seed,
    )


def _zipf_identities(count: int, seed: int) -> list[int]:
    random = Random(f"{seed}/identities")
    zipf = Zipf(ZIPF_IDENTITIES)
    return [zipf.draw(random) for _ in range(count)]


def _recorded_identities(rows: Sequence[Row]) -> list[int]:
    """Number the recorded identities in order of appearance."""
    seen: dict[bytes | None, int] = {}
    return [seen.setdefault(row.identity, len(seen)) for row in rows]


def _open_text(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8", newline=""))
    return path.open(encoding="utf-8", newline="")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines; a line without an end in sight is refused, not read into memory."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise TraceError(f"{path}, line {number}: longer than {MAX_LINE:,} characters")
        yield line


def _parse(parse: Callable[[str], Row | None], line: str, *, path: Path, number: int) -> Row | None:
    """Parse a line; blank lines are skipped, and so is a first line that is a CSV header."""
    if not line.strip():
        return None
    try:
        return parse(line)
    except ValueError as error:
        if number == 1 and parse is _parse_csv_line and _is_header(line):
            return None
        found = line.strip()
        shown = found if len(found) <= 80 else found[:77] + "..."
        raise TraceError(f"{path}, line {number}: {error}; found: {shown}") from error


def _is_header(line: str) -> bool:
    """Whether none of the three columns of `line` holds a digit."""
    return line.count(",") == 2 and not any(character.isdigit() for character in line)


def _parse_csv_line(line: str) -> Row:
    columns = next(csv.reader([line]))
    if len(columns) != 3:
        raise ValueError(
            f"a line has three columns (time, prompt tokens, completion tokens), not {len(columns)}"
        )
    time, prompt, completion = (column.strip() for column in columns)
    return Row(
        _seconds(time), _tokens(prompt, "prompt tokens"), _tokens(completion, "completion tokens")
    )


def _seconds(text: str) -> float:
    """Read an ISO date-time or a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("the time must be an ISO date-time or seconds") from None
        return moment.timestamp()
    if not math.isfinite(seconds):
        raise ValueError("the time must be finite")
    return seconds


def _tokens(text: object, name: str) -> int:
    """Read a count of tokens from CSV text or a JSON number."""
    count = text if isinstance(text, int) and not isinstance(text, bool) else None
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 12:
        count = int(text)
    if count is None or not 0 <= count <= MAX_TOKENS:
        raise ValueError(f"{name} must be a whole number from 0 to {MAX_TOKENS:,}")
    return count


def _parse_json_line(line: str) -> Row:
    try:
        parsed: object = json.loads(line)
    except RecursionError:
        raise ValueError("a line must be a JSON object, not nested so deep") from None
    except ValueError as error:
        raise ValueError(f"a line must be a JSON object ({error})") from None
    if not isinstance(parsed, dict):
        raise ValueError("a line must be a JSON object")
    record = cast(dict[str, object], parsed)
    names = ("timestamp", "input_length", "output_length", "hash_ids")
    missing = [name for name in names if name not in record]
    if missing:
        raise ValueError(f"a line has {', '.join(names)}; {missing[0]} is missing")
    timestamp = record["timestamp"]
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        raise ValueError("timestamp must be a number of milliseconds")
    if not math.isfinite(timestamp):
        raise ValueError("timestamp must be finite")
    hashes = record["hash_ids"]
    if not isinstance(hashes, list):
        raise ValueError("hash_ids must be a list")
    return Row(
        timestamp / 1000,
        _tokens(record["input_length"], "input_length"),
        _tokens(record["output_length"], "output_length"),
        blake2b(json.dumps(hashes).encode(), digest_size=16).digest(),
    )
