"""What processes did, and whether it keeps the promise.

Each process notes when an operation began and ended; the monotonic clock is the same for all of
them. A *change* gives a key of the source a new version, and is followed by an invalidation of it
(or by `set`, with the new version). The promise:

- A read that began after an invalidation was reported done, and the bound is over, gives no version
  that was computed before that invalidation began.
- A read gives a version that the source had before the read ended.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Change(NamedTuple):
    """A key of the source has a version since `at`; `done` is when its invalidation was reported
    done, None if it was not."""

    process: int
    key: str
    version: int
    at: float
    done: float | None


class Read(NamedTuple):
    """A process was given a version between two moments."""

    process: int
    key: str
    version: int
    began: float
    ended: float


class Violation(NamedTuple):
    """A read that breaks the promise: by so many seconds, or because nobody had that version."""

    read: Read
    wanted: int
    late: float


class History(NamedTuple):
    """All that was noted."""

    changes: list[Change]
    reads: list[Read]


class Notes:
    """What one process notes, in a file that has all of it also when the process is killed."""

    def __init__(self, file: Path, process: int) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._process = process

    def changing(self, key: str, version: int, at: float) -> None:
        """A version that the source is about to have."""
        self._note("change", key, version, at)

    def done(self, key: str, version: int, at: float) -> None:
        """The invalidation after it was reported done."""
        self._note("done", key, version, at)

    def read(self, key: str, version: int, began: float, ended: float) -> None:
        """A version that was given."""
        self._note("read", key, version, began, ended)

    def _note(self, *words: object) -> None:
        # One write, so that what threads note comes in whole lines.
        os.write(self._file, f"{json.dumps([self._process, *words])}\n".encode())


def load(files: Iterable[Path]) -> History:
    """What several processes noted."""
    history = History([], [])
    for file in files:
        changes: dict[tuple[str, int], Change] = {}
        for line in file.read_text().splitlines():
            process, what, key, version, *times = json.loads(line)
            if what == "read":
                history.reads.append(Read(process, key, version, *times))
            elif what == "change":
                changes[key, version] = Change(process, key, version, times[0], None)
            else:
                changes[key, version] = changes[key, version]._replace(done=times[0])
        history.changes.extend(changes.values())
    return history


class _Floors:
    """The least version that may be given, as time goes on."""

    def __init__(self, reports: list[tuple[float, int]]) -> None:
        reports.sort()
        self.times = [at for at, _ in reports]
        self.versions = list(accumulate((version for _, version in reports), max))

    def before(self, moment: float) -> int:
        at = bisect_left(self.times, moment)
        return self.versions[at - 1] if at else 0

    def since(self, version: int) -> float:
        """When a version became too old."""
        return self.times[bisect_left(self.versions, version + 1)]


def check(history: History, bound: float) -> list[Violation]:
    """The reads that break the promise; `bound` counts for what other processes invalidated."""
    own: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
    every: dict[str, list[tuple[float, int]]] = defaultdict(list)
    born: dict[tuple[str, int], float] = {}
    for change in history.changes:
        # A process that was killed may have noted a version that another gave the source later.
        name = change.key, change.version
        born[name] = min(change.at, born.get(name, change.at))
        if change.done is not None:
            own[change.process, change.key].append((change.done, change.version))
            every[change.key].append((change.done, change.version))
    own_floors = {name: _Floors(reports) for name, reports in own.items()}
    floors = {key: _Floors(reports) for key, reports in every.items()}
    nothing = _Floors([])
    found: list[Violation] = []
    for read in history.reads:
        if read.version > 0 and born.get((read.key, read.version), float("inf")) > read.ended:
            found.append(Violation(read, 0, 0.0))
            continue
        mine = own_floors.get((read.process, read.key), nothing)
        all_of_them = floors.get(read.key, nothing)
        wanted = max(mine.before(read.began), all_of_them.before(read.began - bound))
        if read.version < wanted:
            since = all_of_them.since(read.version)
            found.append(Violation(read, wanted, read.began - since))
    return found


def delays(history: History) -> list[float]:
    """For each read that gave what another process had invalidated, how long that was ago."""
    every: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for change in history.changes:
        if change.done is not None:
            every[change.key].append((change.done, change.version))
    floors = {key: _Floors(reports) for key, reports in every.items()}
    return [
        read.began - floors[read.key].since(read.version)
        for read in history.reads
        if read.key in floors and read.version < floors[read.key].before(read.began)
    ]
