"""Compares two runs row by row and knows noise from change.

Where both runs measured the row's baseline in the same version, the per-round ratios to it are
compared: a machine that is slower today is slower for both sides. Otherwise the figures themselves
are. What counts is the spread between passes (see `passes.py`), not that between the rounds of one
pass, which is far smaller than what two runs of the same code differ by. A change is called one if
the medians differ by more than a floor and the passes of the two runs lie apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import stats

# The least share of the median that is called a change.
FLOOR = 0.05
# How likely the passes may lie so far apart by chance. Of fewer than five passes a run, all those
# of one must lie beyond all of the other.
ALPHA = 0.01
# A timing that was taken in one process says nothing of how another process would differ.
SINGLE_PASS_FLOOR = 3.0
_TIMED = ("ns", "ms", "Mops/s")


@dataclass(frozen=True)
class Verdict:
    """What became of one contender of ours in one row."""

    row: str
    contender: str
    word: str
    change: float
    apart: bool
    basis: str

    @property
    def slower(self) -> bool:
        return self.word in ("slower", "worse")

    def __str__(self) -> str:
        passes = "passes lie apart" if self.apart else "passes overlap"
        what = f"{100 * self.change:+.1f}% {self.basis}, {passes}"
        return f"{self.word:>12}  {self.row}  {self.contender}  {what}"


def _apart(low: list[float], high: list[float]) -> bool:
    least = 1 / math.comb(len(low) + len(high), len(high))
    return stats.chance(low, high) <= max(ALPHA, least)


def judge(
    old: list[float],
    new: list[float],
    *,
    higher_is_better: bool = False,
    floor: float = FLOOR,
) -> tuple[str, float, bool]:
    """Return (word, change, apart) for the pass medians of two runs.

    The word is "faster", "slower" or "within noise"; `change` is the share by which the median
    moved; `apart` says whether the passes of the two runs lie apart.
    """
    change = stats.change(old, new)
    apart = _apart(old, new) if change > 0 else _apart(new, old)
    if abs(change) <= floor or not apart:
        return "within noise", change, apart
    worse = (change < 0) if higher_is_better else (change > 0)
    return ("slower" if worse else "faster"), change, apart


def _peer_version(run: dict[str, Any], row: dict[str, Any], name: str) -> str:
    """Return the version of what a contender runs on; the standard library's is Python's."""
    peer = row["contenders"][name]["peer"]
    return str(run["versions"].get(peer) if peer else run["machine"]["python"])


def _samples(
    old: dict[str, Any],
    new: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    name: str,
) -> tuple[list[float], list[float], str]:
    base = after["baseline"]
    rounds_before = before["contenders"][name]["rounds"]
    rounds_after = after["contenders"][name]["rounds"]
    sides = [row["contenders"].get(base, {}).get("rounds") for row in (before, after)]
    same = (
        base != name
        and before["baseline"] == base
        and all(side and all(side) for side in sides)
        and _peer_version(old, before, base) == _peer_version(new, after, base)
    )
    if same:
        return (
            stats.ratios(rounds_before, sides[0]),
            stats.ratios(rounds_after, sides[1]),
            f"as a ratio to {base}",
        )
    return rounds_before, rounds_after, f"in {after['unit']}"


def compare(old: dict[str, Any], new: dict[str, Any], *, floor: float = FLOOR) -> Iterator[Verdict]:
    """Yield a verdict for each contender of ours that both saved runs measured."""
    known = {row["name"]: row for row in old["rows"]}
    for after in new["rows"]:
        before = known.get(after["name"])
        if before is None:
            continue
        timed = after["unit"] in _TIMED
        single = min(before["passes"], after["passes"]) == 1
        least = floor * SINGLE_PASS_FLOOR if timed and single else floor
        for name, entry in after["contenders"].items():
            earlier = before["contenders"].get(name, {})
            if not entry["ours"] or "rounds" not in entry or "rounds" not in earlier:
                continue
            first, second, basis = _samples(old, new, before, after, name)
            word, change, apart = judge(
                stats.by_pass(first, before["passes"]),
                stats.by_pass(second, after["passes"]),
                higher_is_better=after["higher_is_better"],
                floor=least,
            )
            if not timed:
                word = {"slower": "worse", "faster": "better"}.get(word, word)
            yield Verdict(after["name"], name, word, change, apart, basis)


def lost(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return rows where a contender of ours was measured before and failed now."""
    known = {row["name"]: row for row in old["rows"]}
    gone = []
    for after in new["rows"]:
        before = known.get(after["name"], {"contenders": {}})
        for name, entry in after["contenders"].items():
            ran = "rounds" in before["contenders"].get(name, {})
            if entry["ours"] and ran and "rounds" not in entry:
                gone.append(f"{after['name']}  {name}: {entry['skipped']}")
    return gone


def strangers(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say in what the two runs differ besides the code: machine, Python, quick or full."""
    differences = [
        f"{what}: {old['machine'][what]} then, {new['machine'][what]} now"
        for what in ("cpu", "cores", "kernel", "python")
        if old["machine"][what] != new["machine"][what]
    ]
    if old["settings"]["quick"] != new["settings"]["quick"]:
        differences.append("one of the two is a quick run")
    return differences
