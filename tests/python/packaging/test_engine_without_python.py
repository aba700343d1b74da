"""The engine configures and names no Python at all, with Python's look-ups turned off."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not shutil.which("ninja"), reason="CMake's Ninja is not installed")


def configure(build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["cmake", "--preset", "release", "-S", ROOT, "-B", build, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_compile_command_of_the_engine_knows_python(tmp_path: Path) -> None:
    done = configure(tmp_path)
    assert done.returncode == 0, done.stderr

    entries = json.loads((tmp_path / "compile_commands.json").read_text())
    files = [Path(entry["file"]).relative_to(ROOT) for entry in entries]
    engine = [file for file in files if file.is_relative_to("cpp/src")]
    tests = [file for file in files if file.is_relative_to("tests/cpp")]

    assert engine
    assert tests
    assert len(entries) == len(engine) + len(tests)
    flags = [
        word
        for e in entries
        for word in e["command"].replace(str(ROOT), "").split()
        if word.startswith(("-I", "-D"))
    ]
    assert not [word for word in flags if "python" in word.lower() or "pybind11" in word]
    cache = (tmp_path / "CMakeCache.txt").read_text()
    assert "Python_EXECUTABLE" not in cache
    assert "pybind11_DIR" not in cache


def test_only_the_extension_asks_for_python(tmp_path: Path) -> None:
    done = configure(tmp_path, "-DMILLPOND_BUILD_EXTENSION=ON")

    assert done.returncode != 0
    assert "CMAKE_DISABLE_FIND_PACKAGE_Python" in done.stderr
