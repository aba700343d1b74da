"""Every C++ header compiles alone, warnings as errors, and opens by saying what it is for."""

import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
_FLAGS = ("-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")


def headers(root: Path) -> list[Path]:
    return sorted((root / "cpp").rglob("*.hpp"))


def include_folders(root: Path) -> list[Path]:
    return [root / "cpp" / folder for folder in ("include", "src", "bindings")]


def closure(header: Path, folders: list[Path]) -> Iterator[Path]:
    """The header and all of our own files that it includes, in a fixed order."""
    seen, waiting = set[Path](), [header]
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        yield path
        for target in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            waiting += [(folder / target).resolve() for folder in (path.parent, *folders)]


def compiled(root: Path) -> dict[Path, float]:
    """When the extension's build last compiled a source, by the header that the source includes
    before anything else: a header that needs another one would have ended it.

    What counts is a build with our warnings as errors, since which neither the source nor what the
    header includes has changed.
    """
    found: dict[Path, float] = {}
    folders = include_folders(root)
    for commands in (root / "build").glob("editable-*/compile_commands.json"):
        for entry in json.loads(commands.read_text(encoding="utf-8")):
            words = shlex.split(entry["command"])
            source, made = Path(entry["file"]), commands.parent / words[words.index("-o") + 1]
            if not {*_FLAGS} <= {*words} or not made.exists() or not source.exists():
                continue
            first = _INCLUDE.search(source.read_text(encoding="utf-8"))
            paths = [(f / first[1]).resolve() for f in (source.parent, *folders)] if first else []
            for header in [path for path in paths if path.is_file()][:1]:
                when = made.stat().st_mtime
                if all(
                    path.stat().st_mtime <= when for path in (source, *closure(header, folders))
                ):
                    found[header] = when
    return found


@functools.cache
def compiler() -> tuple[str, str]:
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    assert found, "a C++ compiler is needed; `make setup` installs g++"
    return found, subprocess.run(
        [found, "--version"], check=True, capture_output=True, text=True
    ).stdout


@functools.cache
def python_flags() -> tuple[str, ...]:
    import pybind11

    return tuple(f"-isystem{p}" for p in (sysconfig.get_path("include"), pybind11.get_include()))


def complaint(header: Path, root: Path, passed: Path) -> str | None:
    """What the compiler says about a file that does nothing but include `header`, if anything.

    A header whose text, with the text of all of ours that it includes, has compiled before, leaves
    a mark in the folder `passed` and is not compiled again.
    """
    folders = include_folders(root)
    program, version = compiler()
    command = [program, *_FLAGS, "-fsyntax-only", "-fvisibility=hidden", "-xc++"]
    command += [f"-I{folder}" for folder in folders]
    if (root / "cpp" / "bindings") in header.parents:
        command += python_flags()
    digest = hashlib.sha256(repr((version, command)).encode())
    for path in closure(header, folders):
        digest.update(path.read_bytes())
    mark = passed / digest.hexdigest()
    if mark.exists():
        return None
    # The preloaded run-time library of a sanitizer would slow the compiler down for nothing.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    # Twice, so that a header without an include guard is found too.
    source = f'#include "{header}"\n' * 2
    done = subprocess.run(
        [*command, "-"], input=source, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        mark.touch()
        return None
    return f"{header.relative_to(root)} does not compile alone:\n{done.stderr}"


def complaints(root: Path, passed: Path) -> list[str]:
    known = compiled(root)
    unknown = [header for header in headers(root) if header.resolve() not in known]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda header: complaint(header, root, passed), unknown)
        return [result for result in results if result]


def test_every_header_compiles_alone(request: pytest.FixtureRequest) -> None:
    cache = request.config.cache
    assert cache is not None
    assert headers(ROOT)
    assert complaints(ROOT, cache.mkdir("headers")) == []


def test_every_header_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in headers(ROOT)
        if not (text := path.read_text(encoding="utf-8")).startswith("// ")
        or "#pragma once" not in text
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("#pragma once\nstd::string name();\n", "std"),
        ("inline int twice(int n) { return 2 * n; }\n", "redefinition"),
        ("#pragma once\ninline int low(long n) { return n; }\n", "-Werror=conversion"),
        ('#pragma once\n#include "millpond/base/absent.hpp"\n', "absent.hpp"),
    ],
    ids=["needs another header", "no guard", "a warning", "a missing file"],
)
def test_a_bad_header_is_found_each_time(tmp_path: Path, code: str, expected: str) -> None:
    base, passed = tmp_path / "cpp/include/millpond/base", tmp_path / "passed"
    base.mkdir(parents=True)
    passed.mkdir()
    (base / "good.hpp").write_text("#pragma once\n#include <string>\nstd::string good();\n")
    (base / "bad.hpp").write_text(code)

    for _ in range(2):
        [found] = complaints(tmp_path, passed)
        assert "bad.hpp does not compile alone" in found
        assert expected in found


def test_a_header_is_compiled_again_when_what_it_includes_changes(tmp_path: Path) -> None:
    base, passed = tmp_path / "cpp/include/millpond/base", tmp_path / "passed"
    base.mkdir(parents=True)
    passed.mkdir()
    (base / "a.hpp").write_text("#pragma once\nusing Number = int;\n")
    user = '#pragma once\n#include "millpond/base/a.hpp"\ninline Number one() { return 1; }\n'
    (base / "b.hpp").write_text(user)
    assert complaints(tmp_path, passed) == []

    (base / "a.hpp").write_text("#pragma once\n")

    [found] = complaints(tmp_path, passed)
    assert "b.hpp" in found


def test_a_header_that_the_build_has_compiled_first_is_not_compiled_again(tmp_path: Path) -> None:
    base, passed = tmp_path / "cpp/include/millpond/base", tmp_path / "passed"
    build = tmp_path / "build/editable-cp313"
    for folder in (base, passed, build):
        folder.mkdir(parents=True)
    (base / "bad.hpp").write_text("#pragma once\nstd::string name();\n")
    source, made = tmp_path / "cpp/src/base/bad.cpp", build / "bad.o"
    source.parent.mkdir(parents=True)
    source.write_text('#include "millpond/base/bad.hpp"\n#include <string>\n')

    def record(*flags: str) -> None:
        command = shlex.join(["g++", *flags, "-o", made.name, "-c", str(source)])
        entries = [{"file": str(source), "command": command}]
        (build / "compile_commands.json").write_text(json.dumps(entries))

    record(*_FLAGS)
    assert complaints(tmp_path, passed), "it was never compiled"
    made.touch()
    assert complaints(tmp_path, passed) == [], "whoever has compiled it would have said so"
    os.utime(base / "bad.hpp", (0, made.stat().st_mtime + 1))
    assert complaints(tmp_path, passed), "it has changed since"
    os.utime(base / "bad.hpp", (0, 0))
    record(*_FLAGS[:-1])
    assert complaints(tmp_path, passed), "a warning was no error"
    record(*_FLAGS)
    source.write_text('#include <string>\n#include "millpond/base/bad.hpp"\n')
    made.touch()
    assert complaints(tmp_path, passed), "it did not come first"
