"""`make soak`: the whole matrix again and again, with other seeds, and a table of the effects."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time

from tests.integration.matrix.run import HEADER, Effect, run
from tests.integration.matrix.table import FAULTS


def main(arguments: list[str] | None = None) -> int:
    """0 where every promise was kept."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.0, help="go on for so long")
    parser.add_argument("--seed", type=int, help="repeat a run")
    parser.add_argument("--tiers", choices=[*FAULTS], help="these alone")
    parser.add_argument("--fault", help="those whose names hold this alone")
    parser.add_argument("--lasts", type=float, default=6.0, help="seconds that a fault lasts")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 30) if given.seed is None else given.seed
    cells = [
        (tiers, fault)
        for tiers, faults in FAULTS.items()
        for fault in faults
        if given.tiers in (None, tiers) and (given.fault or "") in fault.name
    ]
    until = time.monotonic() + given.seconds
    broken: list[tuple[Effect, list[str]]] = []
    print(f"seed {seed}\n\n{HEADER}", flush=True)
    for number in itertools.count(seed):
        for tiers, fault in cells:
            try:
                effect = run(tiers, fault, number, quiet=1.0, lasts=given.lasts)
            except PermissionError as error:
                print(f"| {tiers} | {fault.name} | {error} |", flush=True)
                continue
            print(effect.row(), flush=True)
            if violations := effect.violations():
                broken.append((effect, violations))
        if time.monotonic() > until:
            break
    for effect, violations in broken:
        print(f"\n{effect.tiers}, {effect.fault}, --seed {effect.seed}:")
        print("\n".join(f"  {one}" for one in violations))
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
