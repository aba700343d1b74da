"""The nouns of the harness: a row, its contenders, its targets, and what measuring them gave.

A row is one question ("what does a hit cost?"), asked of several contenders in the same rounds.
Rows are declared in `rows/`; `measure.py` asks, `report.py` prints.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import stats

# Takes one sample and returns it in the row's unit. A sampler may have a method `renew()`, which is
# called before each round.
Sampler = Callable[[], float]


class Unavailable(Exception):  # noqa: N818 - an expected outcome rather than an error
    """A contender or a row cannot run here; the message is the reason that is printed."""


@dataclass
class Context:
    """What a run was asked for, handed to every `prepare`.

    `sample_ns` is about how long one sample should take; `data` is the shared data folder.
    `cleanup` is closed after the row; `notes` is printed and saved beside the contender.
    """

    quick: bool = False
    data: Path | None = None
    sample_ns: int = 1_000_000
    cleanup: ExitStack = field(default_factory=ExitStack)
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One column of a row. `peer` names the PyPI distribution whose version is to be told."""

    name: str
    prepare: Callable[[Context], Sampler]
    peer: str = ""

    @property
    def ours(self) -> bool:
        return self.name.startswith("millpond")


@dataclass(frozen=True)
class Target:
    """A limit on one contender of ours: absolute, as a ratio, or as an excess over another.

    With `of` empty the limit is on the figure itself. With `excess` it is on the difference from
    `of`, else on the ratio to it. `minus` names a contender that is subtracted from both sides of
    a ratio first (a plain call, where an overhead is asked for). `at_least` turns the comparison.
    """

    limit: float
    of: str = ""
    minus: str = ""
    excess: bool = False
    at_least: bool = False
    whose: str = "millpond"

    def text(self, unit: str) -> str:
        sign = ">=" if self.at_least else "<="
        if not self.of:
            return f"{sign} {self.limit:g} {unit}"
        if self.excess:
            return f"{sign} {self.limit:g} {unit} over {self.of}"
        net = f", {self.minus} subtracted" if self.minus else ""
        return f"{sign} {self.limit:g} x {self.of}{net}"

    def figure(self, rounds: dict[str, list[float]]) -> float | None:
        """Return what is held against the limit, or None if a side of it was not measured."""
        needed = [name for name in (self.whose, self.of, self.minus) if name]
        if any(name not in rounds for name in needed):
            return None
        ours = rounds[self.whose]
        if not self.of:
            return stats.median(ours)
        base = rounds[self.of]
        if self.excess:
            return stats.median([a - b for a, b in zip(ours, base, strict=True)])
        if self.minus:
            floor = rounds[self.minus]
            ours = [a - b for a, b in zip(ours, floor, strict=True)]
            base = [a - b for a, b in zip(base, floor, strict=True)]
        return stats.median(stats.ratios(ours, base))

    def met(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `name` is a path ("hit/zipf/str"); its first part is the group that the row is printed with.
    `passes`, `rounds` (in a pass) and `per_round` may be set where a sample is long or always the
    same. `data` rows need the data folder, `slow` rows are left out of a quick run.
    """

    name: str
    title: str
    contenders: tuple[Contender, ...]
    unit: str = "ns"
    baseline: str = ""
    targets: tuple[Target, ...] = ()
    higher_is_better: bool = False
    passes: int = 0
    rounds: int = 0
    per_round: int = 0
    data: bool = False
    slow: bool = False

    @property
    def group(self) -> str:
        return self.name.split("/")[0]


@dataclass
class Result:
    """A row, measured: the rounds of each contender, and why the others have none.

    The rounds of all passes stand one after the other; each pass has the same number of them.
    """

    row: Row
    passes: int = 1
    rounds: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ratio(self, name: str) -> float | None:
        """Return the median of the per-round ratios to the baseline, or None without one."""
        base = self.rounds.get(self.row.baseline)
        ours = self.rounds.get(name)
        if base is None or ours is None or not all(base):
            return None
        return stats.median(stats.ratios(ours, base))

    def as_json(self) -> dict[str, Any]:
        contenders: dict[str, Any] = {}
        for contender in self.row.contenders:
            entry: dict[str, Any] = {"ours": contender.ours, "peer": contender.peer}
            name = contender.name
            if name in self.rounds:
                entry |= {"median": stats.median(self.rounds[name]), "rounds": self.rounds[name]}
                ratio = self.ratio(name)
                if ratio is not None:
                    entry["ratio"] = ratio
            else:
                entry["skipped"] = self.skipped.get(name) or f"failed: {self.failed.get(name)}"
            if self.notes.get(name):
                entry["notes"] = self.notes[name]
            contenders[name] = entry
        row = self.row
        targets = []
        for target in row.targets:
            figure = target.figure(self.rounds)
            met = None if figure is None else target.met(figure)
            entry = {"whose": target.whose, "text": target.text(row.unit)}
            targets.append(entry | {"figure": figure, "met": met})
        return {
            "name": row.name,
            "title": row.title,
            "unit": row.unit,
            "baseline": row.baseline,
            "higher_is_better": row.higher_is_better,
            "passes": self.passes,
            "contenders": contenders,
            "targets": targets,
        }
