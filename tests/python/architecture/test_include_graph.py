"""C++: base <- areas <- bindings; Python's headers only in bindings; fmt only in .cpp files."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
_PYTHON_HEADER = re.compile(r"(pybind11/.*|Python\.h|structmember\.h|frameobject\.h|cpython/.*)")


def cpp_files(root: Path) -> Iterator[tuple[str, Path]]:
    """(layer, file) of each C++ file below cpp/: the layer is an area's name or "bindings"."""
    for place in ("include/millpond", "src", "bindings"):
        base = root / "cpp" / place
        for path in sorted(base.rglob("*.[ch]pp")):
            inside = path.relative_to(base).parts
            yield ("bindings" if place == "bindings" else inside[0] if inside[1:] else ""), path


def layer_of(includer: Path, target: str, layers: set[str]) -> str | None:
    """The layer of our own file that `target` names, or None if it is a foreign header."""
    parts = Path(target).parts
    if "bindings" in parts or parts[0] == "hot":
        return "bindings"
    if parts[0] == "millpond" and parts[2:]:
        return parts[1]
    if parts[0] in layers and parts[1:]:  # a private header, found through cpp/src
        return parts[0]
    if parts[0] == "..":
        folders = (includer.parent / target).resolve().parts[:-1]
        return next((folder for folder in reversed(folders) if folder in layers), None)
    return None


def violations(root: Path) -> list[str]:
    """One sentence for each include that breaks a rule."""
    layers = {layer for layer, _ in cpp_files(root) if layer}
    found = []
    for layer, path in cpp_files(root):
        name = path.relative_to(root).as_posix()
        if not layer:
            found.append(f"{name} is in no area")
            continue
        for target in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            if path.suffix == ".hpp" and target.startswith("fmt/"):
                found.append(f"{name} includes {target}: fmt belongs in .cpp files")
            if layer == "bindings":
                continue
            if _PYTHON_HEADER.fullmatch(target):
                found.append(f"{name} includes {target}: Python belongs in bindings")
            if layer_of(path, target, layers) not in (None, layer, "base"):
                found.append(f"{name} includes {target}: {layer} may know only base")
    return found


def test_the_tree_keeps_to_the_order() -> None:
    assert len(list(cpp_files(ROOT))) >= 4
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("include/millpond/base/a.hpp", '#include "millpond/cache/b.hpp"', "may know only base"),
        ("include/millpond/cache/a.hpp", '#include "millpond/session/b.hpp"', "may know only base"),
        ("src/cache/a.cpp", "#include <millpond/session/b.hpp>", "may know only base"),
        ("src/cache/a.cpp", '  #  include "session/b.hpp"', "may know only base"),
        ("src/cache/a.cpp", '#include "../session/b.hpp"', "may know only base"),
        ("src/cache/a.cpp", '#include "../../bindings/b.hpp"', "may know only base"),
        ("include/millpond/cache/a.hpp", "#include <Python.h>", "Python belongs in bindings"),
        ("src/base/a.cpp", "#include <pybind11/pybind11.h>", "Python belongs in bindings"),
        ("include/millpond/base/a.hpp", "#include <fmt/core.h>", "fmt belongs in .cpp files"),
        ("bindings/a.hpp", "#include <fmt/format.h>", "fmt belongs in .cpp files"),
        ("include/millpond/a.hpp", "", "in no area"),
    ],
)
def test_a_wrong_include_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    for other in ("base", "cache", "session"):
        (tmp_path / "cpp/include/millpond" / other).mkdir(parents=True)
        (tmp_path / "cpp/include/millpond" / other / "b.hpp").touch()
    bad = tmp_path / "cpp" / file
    bad.parent.mkdir(parents=True, exist_ok=True)
    bad.write_text(f"#pragma once\n{line}\n")

    [violation] = violations(tmp_path)

    assert f"cpp/{file}" in violation
    assert complaint in violation


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("src/cache/a.cpp", "#include <fmt/format.h>"),
        ("src/cache/a.cpp", '#include "millpond/base/b.hpp"'),
        ("src/cache/a.cpp", '#include "cache/private.hpp"'),
        ("bindings/hot/a.cpp", "#include <Python.h>"),
        ("bindings/a.cpp", '#include "millpond/cache/b.hpp"'),
    ],
)
def test_a_right_include_is_left_alone(tmp_path: Path, file: str, line: str) -> None:
    good = tmp_path / "cpp" / file
    good.parent.mkdir(parents=True)
    good.write_text(line)

    assert violations(tmp_path) == []
