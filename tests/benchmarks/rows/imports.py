"""What `import` costs in processor time, over an interpreter that imports nothing."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

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


def _environment(context: Context) -> dict[str, str]:
    """An editable install looks on import whether to build again; that is no part of the import, so
    the package is put together in a folder as a wheel would install it."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "rebuild_flag")]
    builds = [str(getattr(finder, "path", "")) for finder in finders]
    if not any(builds):
        return {}
    package = Path(peers.need("millpond").__file__).parent
    engine = Path(peers.need("millpond._engine").__file__)
    folder = Path(context.cleanup.enter_context(tempfile.TemporaryDirectory()))
    shutil.copytree(package, folder / "millpond")
    shutil.copy2(engine, folder / "millpond")
    return {"SKBUILD_EDITABLE_SKIP": os.pathsep.join(builds), "PYTHONPATH": str(folder)}


def _contender(name: str, module: str) -> Contender:
    def prepare(context: Context) -> Sampler:
        code = "pass"
        if module:
            peers.need(module)
            code = f"import {module}"
        environment = _environment(context) if name == "millpond" else {}
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
