"""Python: errors <- _engine <- io <- areas <- ai, telemetry <- engine <- web, cli, notebook."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "python" / "millpond"

# Lowest first. A unit (the first name below the package) may import itself, what stands before it,
# and what stands beside it; only the areas may not even know one another. "__init__" is the front
# door: what is below it must not go round through it.
LAYERS = (
    {"errors"},
    {"_engine"},
    {"io"},
    {"tiers"},
    AREAS := {"cache", "sessions", "metrics", "health", "config"},
    {"ai", "telemetry"},
    {"engine"},
    {"__init__"},
    {"web", "demo", "notebook", "testing"},
    {"cli", "__main__"},
)
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}


def rank(unit: str) -> int | None:
    """The height of a unit. A private module, such as _version, is a leaf below everything."""
    return RANK.get(unit, -1 if unit.startswith("_") else None)


def modules(package: Path) -> Iterator[tuple[str, Path]]:
    """(unit, file) of each module and stub."""
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.pyi")]):
        yield path.relative_to(package).parts[0].split(".")[0], path


def imports(path: Path, package: Path) -> Iterator[tuple[str, int]]:
    """(dotted name below the package, line) of each import of our own, however late it is."""
    here = [package.name, *path.relative_to(package).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first == package.name:
                yield ".".join(rest), node.lineno  # type: ignore[attr-defined]


def violations(package: Path) -> list[str]:
    """One sentence for each import that breaks a rule."""
    units = {unit for unit, _ in modules(package)} | {"_engine"}
    found = []
    for unit, path in modules(package):
        name = path.relative_to(package.parent).as_posix()
        if (height := rank(unit)) is None:
            found.append(f"{name}: {unit} has no place in the order")
            continue
        for dotted, line in imports(path, package):
            # `from millpond import cache` names a unit; `... import Cache`, the front door.
            other = first if (first := dotted.split(".")[0]) in units else "__init__"
            if other == unit or (target := rank(other)) is None:
                continue
            if target > height:
                found.append(f"{name}:{line}: {unit} is below {other}")
            elif target == height and unit in AREAS:
                found.append(f"{name}:{line}: the areas {unit} and {other} may not know each other")
    return found


def test_the_package_keeps_to_the_order() -> None:
    assert list(modules(PACKAGE))
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("errors.py", "from millpond import _engine", "errors is below _engine"),
        ("errors.py", "from millpond._engine import Cache", "errors is below _engine"),
        ("io/redis.py", "from ..cache import keys", "io is below cache"),
        ("cache/keys.py", "import millpond.metrics.instruments", "may not know each other"),
        ("cache/keys.py", "def f():\n    from millpond.engine import Engine", "below engine"),
        ("cache/keys.py", "from millpond import Cache", "cache is below __init__"),
        ("cache/sub/deep.py", "from ...web import asgi", "cache is below web"),
        ("ai/cost.py", "from .. import engine", "ai is below engine"),
        ("_version.py", "from millpond import errors", "_version is below errors"),
        ("__init__.py", "from millpond import cli", "__init__ is below cli"),
        ("helpers.py", "", "has no place in the order"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, code: str, complaint: str) -> None:
    package = tmp_path / "millpond"
    for unit in ("cache", "metrics", "web", "io", "cli", "ai"):
        (package / unit).mkdir(parents=True)
        (package / unit / "__init__.py").touch()
    for unit in ("__init__", "errors", "engine"):
        (package / f"{unit}.py").touch()
    bad = package / file
    bad.parent.mkdir(exist_ok=True, parents=True)
    bad.write_text(code)

    [violation] = violations(package)

    assert f"millpond/{file}" in violation
    assert complaint in violation


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("_engine.pyi", "from millpond.errors import MillpondError"),
        (
            "cache/decorator.py",
            "from . import keys\nfrom .keys import key\nimport millpond._engine",
        ),
        ("cache/decorator.py", "from millpond.io.codecs import pickle\nimport asyncio"),
        ("__init__.py", "from millpond.cache import Cache"),
        ("cli/main.py", "import millpond as mp\nfrom millpond.demo import run"),
    ],
)
def test_a_right_import_is_left_alone(tmp_path: Path, file: str, code: str) -> None:
    package = tmp_path / "millpond"
    for good in ("errors.py", "cache/keys.py", "io/codecs.py", "demo/__init__.py", file):
        (package / good).parent.mkdir(exist_ok=True, parents=True)
        (package / good).touch()
    (package / file).write_text(code)

    assert violations(package) == []
