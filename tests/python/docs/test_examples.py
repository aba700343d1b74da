"""What the pages and the docstrings show is what happens."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import millpond.cache
import millpond.errors
from tests.python.docs.pages import FLAGS, PAGES, ROOT, run_page

MODULES = (
    "millpond.errors",
    "millpond.testing",
    *(f"millpond.cache.{module.name}" for module in pkgutil.iter_modules(millpond.cache.__path__)),
)
# Pages that describe the inside, or measurements: they hold no Python.
WITHOUT_EXAMPLES = {"benchmarks.md", "architecture.md", "decisions.md", "flights.md", "keys.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_do_what_it_says(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count, wrong = run_page(page.name, page.read_text(encoding="utf-8"))
    assert not wrong, "".join(wrong)
    assert count > 0 or page.name in WITHOUT_EXAMPLES
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_do_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert failed == 0


@pytest.mark.parametrize("name", ["with_cache", "Cache", "cache_control", "observe", "disabled"])
def test_what_users_call_shows_an_example(name: str) -> None:
    assert ">>>" in (getattr(millpond.cache, name).__doc__ or "")


def test_a_wrong_example_is_found() -> None:
    assert run_page("p.md", "```python\nx = 1\n```\n\n```python\n>>> x\n1\n```\n") == (2, [])
    count, wrong = run_page("p.md", "```python\n>>> 1 + 1\n3\n```\n")
    assert count == 1
    assert "Failed example" in "".join(wrong)
    assert run_page("p.md", "<!-- not run: no server -->\n```python\n1 / 0\n```\n") == (0, [])
    with pytest.raises(ZeroDivisionError):
        run_page("p.md", "```python\n1 / 0\n```\n")
