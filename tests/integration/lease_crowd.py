"""A process of a crowd that asks for the same values over one database; see test_lease_crowds.py.

Each call of its function is a line in the file "calls". A key that begins with "gate" is computed
once there is a file of that name.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from millpond import Engine
from millpond._engine import TierMonitor
from tests.integration.leases import patient

_SECONDS = 60.0


def engine(where: str) -> Engine:
    """An Engine that gives up on nothing, on a machine that is busy with other tests."""
    mill = patient(where)
    for stage in mill._stages:
        monitor = TierMonitor(stage.tier.name, slow=60.0)
        monitor.cap, stage.monitor = stage.monitor.cap, monitor
    return mill


def main() -> None:
    where, folder = sys.argv[1], Path(sys.argv[2])
    calls = os.open(folder / "calls", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    mill = engine(where)

    @mill.with_cache(namespace="test", ttl="10m")
    def load(key: str) -> dict[str, Any]:
        os.write(calls, f"{key} {os.getpid()}\n".encode())
        if key.startswith("gate"):
            until = time.monotonic() + _SECONDS
            while not (folder / key).exists() and time.monotonic() < until:
                time.sleep(0.005)  # The gate is the test's condition; this is how it is waited for.
        if key.startswith("gate:raise"):
            raise LookupError(key)
        return {"key": key, "by": os.getpid()}

    def one(key: str) -> Any:
        try:
            return load(key)
        except LookupError as error:
            return {"error": str(error)}

    print("ready", flush=True)
    with ThreadPoolExecutor(8) as pool:
        for line in sys.stdin:
            print(json.dumps(list(pool.map(one, json.loads(line)))), flush=True)
    mill.close()


if __name__ == "__main__":
    main()
