"""Compare the engine's hit ratios with those of reference simulators, trace by trace.

    python tests/benchmarks/engine/replay.py build/release/tests/cpp/benchmarks/engine_replay TRACES

TRACES holds `NAME.u32.gz` (object ids in order of access) and `reference.json` (hit ratios in
percent by trace, size and policy). Without that folder there is nothing to do, which is said.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOLERANCE = {"lru": 0.01, "fifo": 0.01, "sieve": 0.01, "s3fifo": 0.3}  # points


def replay(program: Path, trace: Path, sizes: list[str]) -> dict[tuple[str, str], int]:
    """The hits by policy and size of one gzipped trace."""
    with tempfile.NamedTemporaryFile() as plain:
        with gzip.open(trace) as packed:
            shutil.copyfileobj(packed, plain)
        plain.flush()
        command = [str(program), plain.name, ",".join(TOLERANCE), ",".join(sizes)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in out.splitlines())
    return {(policy, size): int(hits) for policy, size, hits in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, help="the built engine_replay")
    parser.add_argument("traces", type=Path, help="the folder with the traces and reference.json")
    arguments = parser.parse_args()
    if not (arguments.traces / "reference.json").exists():
        print(f"skipped: {arguments.traces} has no reference.json")
        return 0
    reference = json.loads((arguments.traces / "reference.json").read_text())["unit_size"]
    worst = dict.fromkeys(TOLERANCE, (0.0, ""))
    means: dict[str, list[float]] = {policy: [] for policy in TOLERANCE}
    for name, trace in reference.items():
        cells = trace["hit_ratio_percent"]
        hits = replay(arguments.program, arguments.traces / f"{name}.u32.gz", list(cells))
        for (policy, size), count in hits.items():
            ratio = 100 * count / trace["accesses"]
            means[policy].append(ratio)
            off = ratio - cells[size][policy]
            worst[policy] = max(worst[policy], (abs(off), f"{name} {size}: {off:+.3f}"))
    for policy, tolerance in TOLERANCE.items():
        mean = sum(means[policy]) / len(means[policy])
        off, where = worst[policy]
        verdict = "ok" if off <= tolerance else "OFF"
        print(
            f"{policy:8} {len(means[policy])} cells, mean {mean:6.3f} %, "
            f"worst {where or 'none'} (within {tolerance}): {verdict}"
        )
    return int(any(worst[policy][0] > TOLERANCE[policy] for policy in TOLERANCE))


if __name__ == "__main__":
    sys.exit(main())
