"""Where a rule is set aside, it is said why: of the linter on the same line, of the type checkers
on the line before.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_SET_ASIDE = re.compile(r"#\s*(?:ruff: )?noqa\b")
_SILENCED = re.compile(r"#\s*(?:type|pyright): ?ignore\b")
_WITH_REASON = re.compile(r"#\s*(?:ruff: )?noqa: [A-Z]+\d+(?:, [A-Z]+\d+)* (?:\(.+\)|- .+)$")


def unexplained(text: str) -> list[str]:
    """The lines that set a rule aside and do not say why."""
    lines = [line for line in text.splitlines() if _SET_ASIDE.search(line)]
    return [line for line in lines if not _WITH_REASON.search(line)]


def untyped(text: str) -> list[str]:
    """The lines that silence a type checker and have no comment before them."""
    lines = text.splitlines()
    return [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if _SILENCED.search(line) and not before.lstrip().startswith("#")
    ]


def sources() -> Iterator[Path]:
    for folder in ("python", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != Path(__file__):
                yield path


@pytest.mark.parametrize("line", ["x = 1  # noqa", "x  # noqa: S311", "# ruff: noqa: S608"])
def test_what_is_not_explained_is_found(line: str) -> None:
    assert unexplained(f"a\n{line}\nb") == [line]
    assert unexplained("x  # noqa: S311, S1 (why)\n# ruff: noqa: S608 (why)") == []


def test_every_exception_says_why() -> None:
    found = {path: lines for path in sources() if (lines := unexplained(path.read_text()))}
    assert found == {}


def test_a_type_checker_that_is_silenced_without_a_reason_is_found() -> None:
    line = "    x = y()  # type: ignore[misc]"
    assert untyped(f"a\n{line}") == [line]
    assert untyped(f"    # y is not typed.\n{line}") == []


def test_every_silenced_type_checker_says_why() -> None:
    product = [path for path in sources() if path.is_relative_to(ROOT / "python")]
    assert len(product) > 50
    found = {path: lines for path in product if (lines := untyped(path.read_text()))}
    assert found == {}
