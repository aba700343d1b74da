"""Fails unless the extension of this environment is what is imported, and has sanitizers in it."""

import sys
from pathlib import Path

from millpond import _engine

where = Path(_engine.__file__)
assert Path(sys.prefix) in where.parents, where
assert b"__asan_init" in where.read_bytes(), f"{where} is not instrumented"
