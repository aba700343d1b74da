"""What `import` costs in processor time, over an interpreter that imports nothing."""

from __future__ import annotations

import os
import sys

from .. import peers, probes
from ..model import Contender, Context, Row, Sampler, Target

EMPTY = "empty interpreter"
MODULES = {
    "millpond": "millpond",
    "cachetools": "cachetools",
    "cachebox": "cachebox",
    "moka-py": "moka_py",
    "theine": "theine",
    "async-lru": "async_lru",
    "aiocache": "aiocache",
    "cashews": "cashews",
}


def _environment() -> dict[str, str]:
    """An editable install looks on import whether to build again; that is no part of the import."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "rebuild_flag")]
    builds = [str(getattr(finder, "path", "")) for finder in finders]
    return {"SKBUILD_EDITABLE_SKIP": os.pathsep.join(builds)} if any(builds) else {}


def _contender(name: str, module: str) -> Contender:
    def prepare(context: Context) -> Sampler:
        code = "pass"
        if module:
            peers.need(module)
            code = f"import {module}"
        environment = _environment()
        probes.processor_ms(code, environment)  # Once for the byte code on disk.
        return lambda: probes.processor_ms(code, environment)

    return Contender(name, prepare, name if module else "")


def rows() -> list[Row]:
    return [
        Row(
            name="import/time",
            title="processor time of an interpreter that does `import …` and ends",
            contenders=(
                *(_contender(name, module) for name, module in MODULES.items()),
                _contender(EMPTY, ""),
            ),
            unit="ms",
            baseline=EMPTY,
            targets=(Target(30.0, of=EMPTY, excess=True),),
            rounds=2,
            per_round=3,
        )
    ]
