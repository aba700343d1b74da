"""Runs rows in several passes, each row of each pass in a process of its own.

Two runs of the same code differ more than the rounds of one run tell: strings hash with another
seed, memory is laid out in another way, a neighbour is busy for a minute. A new process draws all
of these anew, and passes lie minutes apart; so the spread between passes is the noise that a
comparison has to reckon with. It also keeps rows from each other's heap, and a row that crashes
from taking the run with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import measure
from .model import Context, Result, Row

FLAG = "--pass"
PASSES, QUICK_PASSES = 5, 3
SAMPLE_NS, QUICK_SAMPLE_NS = 1_000_000, 300_000
_SECONDS = 1_800
# What of a Result goes from the process of a pass to the one that asked.
_ANSWERED = ("rounds", "skipped", "failed", "notes")


@dataclass(frozen=True)
class Settings:
    """What a run was asked for, in a form that goes to another process."""

    quick: bool = False
    data: Path | None = None

    def context(self) -> Context:
        sample_ns = QUICK_SAMPLE_NS if self.quick else SAMPLE_NS
        return Context(quick=self.quick, data=self.data, sample_ns=sample_ns)


# Takes a row once and returns its rounds; `in_process` is the one that is used.
Take = Callable[[Row, Settings], Result]


def run(
    rows: Sequence[Row], settings: Settings, say: Callable[[str], None], take: Take | None = None
) -> list[Result]:
    """Measure the rows, all of them once in each pass, and return the passes joined."""
    take = take or in_process
    usual = QUICK_PASSES if settings.quick else PASSES
    wanted = {row.name: min(usual, row.passes or usual) for row in rows}
    taken: dict[str, list[Result]] = {row.name: [] for row in rows}
    for turn in range(max(wanted.values(), default=0)):
        due = [row for row in rows if wanted[row.name] > turn]
        for number, row in enumerate(due, 1):
            say(f"pass {turn + 1} [{number}/{len(due)}] {row.name}")
            taken[row.name].append(take(row, settings))
    return [joined(row, taken[row.name]) for row in rows]


def joined(row: Row, results: Sequence[Result]) -> Result:
    """Return the passes of a row as one result. Who is missing in one pass is left out of all."""
    whole = Result(row, passes=len(results))
    for contender in row.contenders:
        name = contender.name
        for result in results:
            if name in result.skipped:
                whole.skipped[name] = result.skipped[name]
            if name in result.failed:
                whole.failed[name] = result.failed[name]
            whole.notes.setdefault(name, {}).update(result.notes.get(name, {}))
        if all(name in result.rounds for result in results):
            whole.rounds[name] = [value for result in results for value in result.rounds[name]]
    return whole


def in_process(row: Row, settings: Settings) -> Result:
    """Measure a row once in a fresh process. If that fails, so have all of its contenders."""
    question = {"row": row.name, "quick": settings.quick}
    if settings.data is not None:
        question["data"] = str(settings.data.resolve())
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve().parent), FLAG, json.dumps(question)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return Result(row, **answered)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    reason = f"its process ended with {done.returncode}: {last}"
    return Result(row, failed={contender.name: reason for contender in row.contenders})


def answer(text: str) -> int:
    """Measure the row that `in_process` asked for, and print what it takes to make the Result."""
    from .rows import all_rows

    question = json.loads(text)
    data = Path(question["data"]) if "data" in question else None
    settings = Settings(quick=question["quick"], data=data)
    row = next(row for row in all_rows() if row.name == question["row"])
    result = measure.run_row(row, settings.context())
    print(json.dumps({name: getattr(result, name) for name in _ANSWERED}))
    return 0
