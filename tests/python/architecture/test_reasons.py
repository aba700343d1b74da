"""Where a rule of the linter is set aside, the same line says why."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_SET_ASIDE = re.compile(r"#\s*(?:ruff: )?noqa\b")
_WITH_REASON = re.compile(r"#\s*(?:ruff: )?noqa: [A-Z]+\d+(?:, [A-Z]+\d+)* (?:\(.+\)|- .+)$")


def unexplained(text: str) -> list[str]:
    """The lines that set a rule aside and do not say why."""
    lines = [line for line in text.splitlines() if _SET_ASIDE.search(line)]
    return [line for line in lines if not _WITH_REASON.search(line)]


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
