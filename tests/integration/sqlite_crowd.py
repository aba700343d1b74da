"""What each process of a crowd does with the SQLite tier, started by test_sqlite_processes.py."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from millpond.errors import TierError
from millpond.io.deadline import Deadline
from millpond.tiers.base import Entry
from millpond.tiers.sqlite import SQLiteTier

if TYPE_CHECKING:
    from pathlib import Path

KEYS = 6
NAMES = 3


def soon() -> Deadline:
    return Deadline.after(30)


def tier_in(folder: Path) -> SQLiteTier:
    return SQLiteTier(folder, timeout=30)


def crowd(folder: Path, seed: int, rounds: int, floors: Any, tags: Any, told: Any) -> None:
    """Load, invalidate and read the same few keys, and report what no reader may ever see.

    The truth of a key is a counter. `floors[key]` is a value of it that some process had when its
    invalidation was done: from then on nobody may be given an older one. `tags[name]` is the same
    for entries that carry the stamp of a generation name.
    """
    rng = random.Random(seed)
    tier = tier_in(folder)
    wrong: list[str] = []
    counted = 0
    for _ in range(rounds):
        number, tag = rng.randrange(KEYS), rng.randrange(NAMES)
        key, name = f"key{number}", f"{tag:032x}"
        what = rng.random()
        if what < 0.25:
            # Who changes the truth does so alone; who loads it is not kept out.
            with floors.get_lock():
                value = tier.incr(f"truth:{key}", 1, None, soon())
                if what < 0.15:
                    rng.choice([tier.delete, tier.erase])([key], soon())
                else:
                    tier.write([_entry(key, value)], soon())
                _raise(floors, number, value)
        elif what < 0.5:
            guard = tier.fetch([key], [], soon()).guards[0]
            value = tier.incr(f"truth:{key}", 0, None, soon())
            tier.store([_entry(key, value, guard)], soon())
        elif what < 0.6:
            value = tier.incr(f"truth:{name}", 1, None, soon())
            tier.bump([name], soon())
            _raise(tags, tag, value)
        elif what < 0.7:
            [stamp] = tier.stamp([name], soon())
            value = tier.incr(f"truth:{name}", 0, None, soon())
            tier.store([Entry(f"of:{name}", b"%d %d" % (stamp, value), 600)], soon())
        elif what < 0.75:
            tier.incr("counted", 1, None, soon())
            counted += 1
        else:
            floor, tag_floor = floors[number], tags[tag]
            data, carried = tier.fetch([key, f"of:{name}"], [name], soon()).data
            [now] = tier.fetch([], [name], soon()).stamps
            if data is not None and int(data) < floor:
                wrong.append(f"{key} was {int(data)}, and {floor} had been reported")
            if carried is not None:
                stamp, value = map(int, carried.split())
                if stamp == now and value < tag_floor:
                    wrong.append(f"{name} was {value}, and {tag_floor} had been reported")
    tier.close()
    told.put((seed, counted, wrong))


def write_on(folder: Path, number: int, done: Any) -> None:
    """Write key after key until killed; `done[number]` is the last that was reported written."""
    tier = tier_in(folder)
    while True:
        at = done[number] + 1
        try:
            tier.write([_entry(f"w{number}:{at:06}", at)], soon())
            tier.bump([f"{number:032x}"], soon())
        except TierError:
            continue
        done[number] = at


def _entry(key: str, value: int, guard: int = 0) -> Entry:
    # Entries of several pages make torn ones possible.
    return Entry(key, b"%d" % value + b" " * (value % 9 * 1000), 600, guard)


def _raise(floors: Any, number: int, value: int) -> None:
    with floors.get_lock():
        floors[number] = max(floors[number], value)
