"""What pyproject.toml promises: few dependencies, and pins that agree with one another."""

import re
import tomllib
from pathlib import Path

import pytest

import millpond

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS: dict[str, list[str | dict[str, str]]] = PROJECT["dependency-groups"]
CONSTRAINTS = (ROOT / ".ci/constraints.txt").read_text(encoding="utf-8").splitlines()
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)")


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in lines:
        match = _PIN.match(line)
        assert match, f"{line!r} pins nothing"
        found.setdefault(normal(match[1]), set()).add(match[2])
    return found


def group_lines() -> list[str]:
    return [line for group in GROUPS.values() for line in group if isinstance(line, str)]


def test_the_base_install_needs_nothing() -> None:
    assert PROJECT["project"]["dependencies"] == []


def test_every_development_package_is_pinned_to_one_version() -> None:
    assert all(len(versions) == 1 for versions in pins(group_lines()).values())


def test_the_constraints_hold_every_pinned_package() -> None:
    constrained = pins(CONSTRAINTS)

    assert {name: constrained.get(name) for name in pins(group_lines())} == pins(group_lines())


def test_the_constraints_name_no_place_to_load_from() -> None:
    assert not [line for line in CONSTRAINTS if "://" in line or line.startswith("-")]


def test_a_development_environment_satisfies_what_the_build_asks_for() -> None:
    asked = {normal(re.split(r"[<>=]", line)[0]) for line in PROJECT["build-system"]["requires"]}

    assert asked <= set(pins([line for line in GROUPS["build"] if isinstance(line, str)]))


def test_the_version_is_told_and_nothing_else_is_made_up() -> None:
    assert millpond.__version__ == PROJECT["project"]["version"]
    with pytest.raises(AttributeError, match="module 'millpond' has no attribute 'nothing'"):
        _ = millpond.nothing  # type: ignore[attr-defined]
