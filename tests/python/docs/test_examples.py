"""What the pages and the docstrings show is what happens."""

import doctest
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import millpond.cache
import millpond.errors
from millpond.io.deadline import Deadline
from millpond.tiers.sqlite import SQLiteTier
from tests.integration.servers import RedisServer
from tests.python.docs.pages import FLAGS, PAGES, ROOT, run_page, servers

MODULES = (
    "millpond.errors",
    "millpond.testing",
    *(f"millpond.cache.{module.name}" for module in pkgutil.iter_modules(millpond.cache.__path__)),
)
# Pages of decisions and measurements, and those that describe the inside, may hold no Python.
WITHOUT_EXAMPLES = {
    "benchmarks.md",
    "benchmarks-functions.md",
    "benchmarks-tiers.md",
    "decisions.md",
    "design",
}


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts a server by name and gives its URL; files of an Engine go to the test's folder.

    They are made ahead: on a machine that is busy, that may take more than a call has for tiers.
    """
    monkeypatch.setenv("MILLPOND_DATA", str(tmp_path / "data"))
    tier = SQLiteTier(timeout=30)
    tier.open(Deadline.after(30))
    tier.close()
    with ExitStack() as stack:
        yield lambda name: stack.enter_context({"redis": RedisServer}[name]()).url


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_do_what_it_says(
    page: Path, urls: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = page.read_text(encoding="utf-8")
    count, wrong = run_page(page.name, text, {name: urls(name) for name in servers(text)})
    assert not wrong, "".join(wrong)
    assert count > 0 or {page.name, page.parent.name} & WITHOUT_EXAMPLES
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
    asked = '<!-- with: redis -->\n```python\nassert "redis://localhost:6379/0" == "redis://h:1/0"\n```\n'
    assert servers(asked) == {"redis"}
    assert run_page("p.md", asked, {"redis": "redis://h:1"}) == (1, [])
    with pytest.raises(ZeroDivisionError):
        run_page("p.md", "```python\n1 / 0\n```\n")
