"""The tables of the guide name what there is, no more and no less."""

import inspect
import re
from typing import Any

import pytest

import millpond as mp
from millpond.cache.options import UNSET
from tests.python.docs.pages import ROOT

GUIDE = ROOT / "docs" / "guide"


def section(page: str, heading: str) -> str:
    """The text under a heading of the guide."""
    text = (GUIDE / page).read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of a table."""
    return re.findall(r"^\| (`[^|]*?) \|", text, re.MULTILINE)


def names(text: str) -> set[str]:
    """What a table's first cells name, without arguments."""
    return {
        name
        for cell in first_cells(text)
        for name in re.findall(r"`(?:del )?(\w+)(?:\([^`]*\))?`", cell)
    }


def shown(default: Any) -> str:
    return default.__name__ if isinstance(default, type) else repr(default).replace("'", '"')


@pytest.mark.parametrize(
    ("page", "function", "undocumented"),
    [
        ("decorate.md", mp.with_cache, {"function"}),
        ("cache.md", mp.Cache, {"clock"}),
        ("tiers.md", mp.Engine, set()),
    ],
)
def test_the_table_of_options_has_each_with_its_default(
    page: str, function: Any, undocumented: set[str]
) -> None:
    told = {
        name.strip("`"): default
        for name, default in re.findall(
            r"^\| (`\w+`) \| [^|]* \| ([^|]*?) ?\|", section(page, "Options"), re.MULTILINE
        )
    }
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in undocumented
    }
    assert list(told) == list(options)
    for name, default in told.items():
        if options[name] is not UNSET and default.startswith("`"):
            assert default == f"`{shown(options[name])}`", name


def test_the_table_of_the_cache_has_each_method() -> None:
    public = {name for name in dir(mp.Cache) if not name.startswith("_")}
    assert names(section("cache.md", "Methods")) == public


def test_the_table_of_the_wrapper_has_each_method() -> None:
    public = {name for name in dir(mp.with_cache(len)) if name.startswith("cache_")}
    assert names(section("decorate.md", "On the wrapper")) == public | {"__wrapped__"}


def test_each_statistic_and_each_reason_of_a_miss_is_told() -> None:
    text = section("cache.md", "Statistics")
    info = mp.Cache().stats()
    assert names(text) == set(info.miss_reasons)
    fields = {name for name in dir(info) if not name.startswith(("_", "n_"))} - {"count", "index"}
    assert [name for name in sorted(fields) if name not in re.findall(r"\w+", text)] == []


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs/design").glob("*.md")))
def test_the_tests_that_a_design_page_names_exist(page: str) -> None:
    text = (ROOT / "docs/design" / page).read_text(encoding="utf-8")
    sources = [
        *(ROOT / "tests").rglob("*_test.cpp"),
        *(ROOT / "tests").rglob("test_*.py"),
        *(ROOT / "python/millpond/testing").glob("*.py"),
    ]
    there = {path.name for path in sources} | {path.stem for path in sources}
    for path in sources:
        there.update(
            re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        )
    assert set(re.findall(r"\b(?:test_\w+|\w+_test\b)(?:\.\w+)?", text)) - there == set()
