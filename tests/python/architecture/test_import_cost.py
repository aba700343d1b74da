"""`import millpond` opens nothing, starts nothing, pulls in little and is over in 30 ms.

The package is tried as a wheel lays it out, without the editable install's finder, which would ask
the build system at each import.
"""

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import millpond
from millpond import _engine

BUDGET_MS = 30.0
# Each costs milliseconds, and none is needed before a first call.
HEAVY = ("asyncio", "dataclasses", "importlib.metadata", "inspect")

_REPORT = """
import json, os, resource, sys
def look():
    threads = len(os.listdir("/proc/self/task"))
    files = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                   if os.path.exists(f"/proc/self/fd/{fd}"))
    return threads, files
sys.path.insert(0, sys.argv[1])
threads, files = look()
before = resource.getrusage(resource.RUSAGE_SELF)
import NAME
after = resource.getrusage(resource.RUSAGE_SELF)
modules = sorted(sys.modules)
threads_then, files_then = look()
print(json.dumps({
    "ms": 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime),
    "threads": threads_then - threads,
    "files": [f for f in files_then if f not in files],
    "modules": modules,
}))
"""


def report(site: Path, name: str) -> dict[str, object]:
    """What importing `name` from the folder `site` did to an otherwise empty interpreter."""
    command = [sys.executable, "-I", "-S", "-c", _REPORT.replace("NAME", name), str(site)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with millpond in it, as in site-packages."""
    folder = tmp_path_factory.mktemp("site")
    source, extension = Path(millpond.__file__).parent, Path(_engine.__file__)
    shutil.copytree(source, folder / "millpond", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(extension, folder / "millpond" / extension.name)
    report(folder, "millpond")  # writes the bytecode, as an installer does
    return folder


def bad_module(folder: Path, code: str) -> Path:
    (folder / "bad.py").write_text(code)
    return folder


def test_importing_starts_no_thread(site: Path, tmp_path: Path) -> None:
    sleeper = "import _thread, time; _thread.start_new_thread(time.sleep, (60,))"

    assert report(bad_module(tmp_path, sleeper), "bad")["threads"] == 1
    assert report(site, "millpond")["threads"] == 0


def test_importing_leaves_no_file_open(site: Path, tmp_path: Path) -> None:
    keeper = "kept = open(__file__)"

    assert report(bad_module(tmp_path, keeper), "bad")["files"] == [str(tmp_path / "bad.py")]
    assert report(site, "millpond")["files"] == []


def test_importing_pulls_in_nothing_heavy(site: Path, tmp_path: Path) -> None:
    def heavy(where: Path, name: str) -> set[str]:
        modules = report(where, name)["modules"]
        assert isinstance(modules, list)
        return set(HEAVY) & set(modules)

    assert heavy(bad_module(tmp_path, "import asyncio"), "bad") >= {"asyncio", "inspect"}
    assert heavy(site, "millpond") == set()


@pytest.mark.measures
def test_importing_is_over_in_thirty_milliseconds(site: Path, tmp_path: Path) -> None:
    def median_ms(where: Path, name: str, runs: int) -> float:
        # CPU time, because the time by the clock also counts what other processes do.
        return statistics.median(float(str(report(where, name)["ms"])) for _ in range(runs))

    slow = "import time\nend = time.process_time() + 0.04\nwhile time.process_time() < end: pass"

    assert median_ms(bad_module(tmp_path, slow), "bad", runs=1) > BUDGET_MS
    assert median_ms(site, "millpond", runs=9) <= BUDGET_MS
