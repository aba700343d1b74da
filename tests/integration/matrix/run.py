"""`run`: one fault under traffic, from a quiet phase to the end, and what was measured."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.integration.matrix.sites import Site
from tests.integration.matrix.traffic import Phase, Traffic
from tests.integration.matrix.truth import Bounds, Truth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millpond import Engine
    from tests.integration.matrix.table import Fault

KEYS = 400
# Milliseconds in which what another process did is heard; the rest is for a machine that is busy
# with other tests.
HEARD = 0.5
BUSY = 0.5
OVERHEAD = 0.1
MARGIN = 0.05
RECOVERY = 2.0
# What may be more than before: descriptors and threads (of connections that many callers needed
# at once), and bytes of memory.
MORE_FDS = 150
MORE_THREADS = 4
MORE_BYTES = 24 << 20


class Usage(NamedTuple):
    """What a process holds: files by what they are, threads by their names."""

    files: tuple[str, ...]
    names: tuple[str, ...]
    bytes: int

    @classmethod
    def now(cls) -> Usage:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files: list[str] = []
        for one in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # The folder's own is closed by now.
                files.append(f"{one.name}: {one.readlink()}")
        names = sorted(thread.name for thread in threading.enumerate())
        return cls(tuple(files), tuple(names), pages * os.sysconf("SC_PAGESIZE"))

    @property
    def fds(self) -> int:
        return len(self.files)

    @property
    def threads(self) -> int:
        return len(self.names)

    def over(self, other: Usage) -> bool:
        """Whether it is more than the other, its bytes aside."""
        return self.fds > other.fds or self.threads > other.threads

    def more(self, other: Usage) -> str:
        """What the other has not."""
        files = ", ".join(sorted({*self.files} - {*other.files}))
        return f"files [{files}], threads {list(self.names)} after {list(other.names)}"


class Effect(NamedTuple):
    """What a fault did."""

    tiers: str
    fault: str
    seed: int
    calls: int
    failed: list[str]
    wrong: list[str]
    late: list[Any]
    untold: int
    quiet: Phase
    during: Phase
    afterwards: Phase
    recovery: float | None
    before: Usage
    after: Usage
    closed: tuple[Usage, Usage]

    def violations(self) -> list[str]:
        """How it breaks what is promised."""
        found = [f"failed: {one}" for one in self.failed[:3]]
        found += [f"wrong: {one}" for one in self.wrong[:3]]
        found += [f"late: {one}" for one in self.late[:5]]
        for phase in (self.during, self.afterwards):
            more = phase.net(0.99) - self.quiet.net(0.99)
            if more > OVERHEAD + MARGIN:
                found.append(f"p99 is {more * 1e3:.0f} ms more than without: {phase.name}")
        if self.recovery is None or self.recovery > RECOVERY + BUSY:
            found.append(f"recovery took {self.recovery} s")
        if self.after.fds > self.before.fds + MORE_FDS:
            found.append(f"descriptors: {self.before.fds} before, {self.after.fds} after")
        if self.after.threads > self.before.threads + MORE_THREADS:
            found.append(f"threads: {self.before.threads} before, {self.after.threads} after")
        if self.after.bytes > self.before.bytes + MORE_BYTES:
            found.append(f"memory: {self.before.bytes} before, {self.after.bytes} after")
        first, last = self.closed
        if last.over(first):
            found.append(f"left behind after close: {last.more(first)}")
        return found

    def row(self) -> str:
        """A row of the table of effects."""
        recovery = "never" if self.recovery is None else f"{self.recovery:.2f} s"
        cells = (
            self.tiers,
            self.fault,
            str(self.calls),
            str(len(self.failed)),
            str(len(self.wrong)),
            str(len(self.late)),
            str(self.untold),
            *(
                f"{phase.net(0.5) * 1e3:.1f} / {phase.net(0.99) * 1e3:.1f} / "
                f"{phase.net(1.0) * 1e3:.0f} ms"
                for phase in (self.quiet, self.during, self.afterwards)
            ),
            recovery,
        )
        return "| " + " | ".join(cells) + " |"


HEADER = (
    "| tiers | fault | calls | failed | wrong | late | untold | p50 / p99 / worst before "
    "| with the fault | afterwards | recovery |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def run(
    tiers: str,
    fault: Fault,
    seed: int,
    *,
    quiet: float = 0.6,
    lasts: float = 2.0,
    grace: float = 2.0,
    **pace: float,
) -> Effect:
    """Let a fault of the first of the tiers last for some seconds, in the middle of traffic."""
    chance = random.Random(seed)
    with Site(tiers, grace=grace, disk=fault.disk) as site:
        nothing = Usage.now()
        truth = Truth(KEYS, Bounds(HEARD, grace + BUSY))
        with (
            _engines(site) as (mill, other),
            Traffic(mill, other, truth, seed, site.copies, **pace) as traffic,
        ):
            phases = [traffic.now]
            _until(lambda: traffic.tier_hits() > 50, 10.0)
            before = Usage.now()  # Which holds up everybody for a while.
            phases.append(calm := traffic.phase("quiet"))
            time.sleep(quiet)
            phases.append(during := traffic.phase("fault"))
            if not fault.heard:
                truth.deaf()
            _endure(site, fault, chance, lasts)
            fault.end(site)
            phases.append(afterwards := traffic.phase("recovery and after"))
            recovery = _recover(mill, traffic)
            if not fault.heard:
                truth.hearing()
            time.sleep(quiet)
            after = Usage.now()
        # A thread of another test's may have a file open for a moment.
        _until(lambda: not Usage.now().over(nothing), 2.0)
        closed = (nothing, Usage.now())
    return Effect(
        tiers,
        fault.name,
        seed,
        sum(len(phase.seconds) for phase in phases),
        [one for phase in phases for one in phase.failed],
        [one for phase in phases for one in phase.wrong],
        [one for phase in phases for one in phase.late],
        during.untold,
        calm,
        during,
        afterwards,
        recovery,
        before,
        after,
        closed,
    )


@contextmanager
def _engines(site: Site) -> Iterator[tuple[Engine, Engine]]:
    with site.engine() as mill, site.engine(through_proxy=False) as other:
        yield mill, other


def _endure(site: Site, fault: Fault, chance: random.Random, lasts: float) -> None:
    """Begin the fault, and return when it is to end."""
    until = time.monotonic() + (0.0 if fault.passing else lasts)
    fault.begin(site, chance)
    again = time.monotonic() + fault.every if fault.every else until
    while (now := time.monotonic()) < until:
        if again <= now:
            fault.begin(site, chance)
            again = now + fault.every
        time.sleep(0.01)


def _recover(mill: Engine, traffic: Traffic) -> float | None:
    """Seconds until every tier serves and others are heard; None: it does not recover."""
    began = time.monotonic()

    def well() -> bool:
        stats = mill.stats()
        tiers = [stats[name] for name in stats if name != "memory"]
        return all(
            tier["state"] == "closed" and tier.get("coherence", {"heard": True})["heard"]
            for tier in tiers
        )

    if not _until(well, 15.0):
        return None
    hits = traffic.tier_hits()
    if not _until(lambda: traffic.tier_hits() > hits, 15.0):
        return None
    return time.monotonic() - began


def _until(condition: Any, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
