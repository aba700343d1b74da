"""Compares two runs row by row and knows noise from change.

Where both runs measured the row's baseline in the same version, the per-round ratios to it are
compared: a machine that is slower today is slower for both sides. Otherwise the figures themselves
are. A change counts only if it exceeds both a floor and what the spread of the rounds explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import stats

# Standard errors of a difference that are still chance: about one false alarm in 4,000 rows.
Z = 3.5
# The least share that is called a change, see `stats.noise`.
FLOOR = 0.05


@dataclass(frozen=True)
class Verdict:
    """What became of one contender of ours in one row."""

    row: str
    contender: str
    word: str
    change: float
    noise: float
    basis: str

    @property
    def slower(self) -> bool:
        return self.word in ("slower", "worse")

    def __str__(self) -> str:
        what = f"{100 * self.change:+.1f}% (noise ±{100 * self.noise:.1f}%), {self.basis}"
        return f"{self.word:>12}  {self.row}  {self.contender}  {what}"


def judge(
    old: list[float],
    new: list[float],
    *,
    higher_is_better: bool = False,
    z: float = Z,
    floor: float = FLOOR,
) -> tuple[str, float, float]:
    """Return (word, change, noise) for two samples; the word is faster, slower or within noise."""
    change = stats.change(old, new)
    noise = stats.noise(old, new, z=z, floor=floor)
    if abs(change) <= noise:
        return "within noise", change, noise
    worse = (change < 0) if higher_is_better else (change > 0)
    return ("slower" if worse else "faster"), change, noise


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
            f"ratio to {base}",
        )
    return rounds_before, rounds_after, f"in {after['unit']}"


def compare(
    old: dict[str, Any], new: dict[str, Any], *, z: float = Z, floor: float = FLOOR
) -> Iterator[Verdict]:
    """Yield a verdict for each contender of ours that both saved runs measured."""
    known = {row["name"]: row for row in old["rows"]}
    for after in new["rows"]:
        before = known.get(after["name"])
        if before is None:
            continue
        for name, entry in after["contenders"].items():
            earlier = before["contenders"].get(name, {})
            if not entry["ours"] or "rounds" not in entry or "rounds" not in earlier:
                continue
            first, second, basis = _samples(old, new, before, after, name)
            word, change, noise = judge(
                first, second, higher_is_better=after["higher_is_better"], z=z, floor=floor
            )
            timed = after["unit"] in ("ns", "ms", "Mops/s")
            if not timed:
                word = {"slower": "worse", "faster": "better"}.get(word, word)
            yield Verdict(after["name"], name, word, change, noise, basis)


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
