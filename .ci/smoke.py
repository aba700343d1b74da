"""Uses an installed millpond as a stranger would, to see that the archive is whole."""

import importlib.metadata
import importlib.resources
import subprocess
import sys
from pathlib import Path

import millpond
from millpond import _engine

for name, module in (("millpond", millpond), ("millpond._engine", _engine)):
    assert module.__file__ is not None
    assert module.__file__.startswith(sys.prefix), f"{name} comes from {module.__file__}"
assert importlib.metadata.version("millpond")
typed = [item.name for item in importlib.resources.files("millpond").iterdir()]
missing = {"py.typed", "_engine.pyi"} - set(typed)
assert not missing, f"the archive lacks {missing}"
command = Path(sys.executable).parent / "millpond"
subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)


@millpond.with_cache(ttl="10m", max_bytes="1MiB")
def double(number: int) -> int:
    return 2 * number


assert [double(4), double(number=4)] == [8, 8]
assert double.cache_info()[:2] == (1, 1), double.cache_info()
cache = millpond.Cache(max_entries=2, policy="lru")
for number in range(3):
    cache[number] = number
assert sorted(cache) == [1, 2], cache.keys()
