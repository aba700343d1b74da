"""Asks a row of its contenders in one process: A B C, A B C, … in many short rounds.

The machine is shared and its clock speed wanders, so no contender is measured in one stretch. In
each round every contender gives `per_round` samples, in turn; the best of them is its figure of the
round (a disturbance only ever adds time). The starting contender rotates. The garbage collector is
off during the rounds: none of the loops makes a cycle, and a collection would fall on whoever
happened to be running.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Mapping
from contextlib import ExitStack

from .model import Context, Result, Row, Sampler, Unavailable

ROUNDS, PER_ROUND = 7, 5
QUICK_ROUNDS, QUICK_PER_ROUND = 3, 3


def interleave(
    samplers: Mapping[str, Sampler], *, rounds: int, per_round: int, higher_is_better: bool
) -> dict[str, list[float]]:
    """Return the figure of each round for each sampler, all measured in the same rounds."""
    best = max if higher_is_better else min
    names = list(samplers)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        start = turn % len(names)
        order = names[start:] + names[:start]
        for name in order:
            renew = getattr(samplers[name], "renew", None)
            if renew is not None:
                renew()
        samples: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(per_round):
            for name in order:
                samples[name].append(samplers[name]())
        for name in names:
            figures[name].append(best(samples[name]))
    return figures


def run_row(row: Row, context: Context) -> Result:
    """Prepare, measure and clean up one row. A contender that cannot run is left out, with the
    reason in the result."""
    result = Result(row)
    if row.data and context.data is None:
        reason = "needs the shared data folder (--data DIR)"
        result.skipped = {contender.name: reason for contender in row.contenders}
        return result
    with ExitStack() as context.cleanup:
        samplers: dict[str, Sampler] = {}
        for contender in row.contenders:
            context.notes = result.notes.setdefault(contender.name, {})
            try:
                samplers[contender.name] = contender.prepare(context)
            except Unavailable as error:
                result.skipped[contender.name] = str(error)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
                result.failed[contender.name] = f"{type(error).__name__}: {error} ({where})"
        if samplers:
            result.rounds = _measure(row, samplers, quick=context.quick)
    return result


def _measure(row: Row, samplers: dict[str, Sampler], *, quick: bool) -> dict[str, list[float]]:
    rounds = row.rounds or (QUICK_ROUNDS if quick else ROUNDS)
    per_round = row.per_round or (QUICK_PER_ROUND if quick else PER_ROUND)
    gc.collect()
    gc.disable()
    try:
        return interleave(
            samplers,
            rounds=rounds,
            per_round=per_round,
            higher_is_better=row.higher_is_better,
        )
    finally:
        gc.enable()
        samplers.clear()
        gc.collect()
