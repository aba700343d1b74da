"""`millpond.testing`: what users test their own code with."""

import doctest
import subprocess
import sys

import pytest

import millpond as mp
from millpond import testing
from millpond.errors import ConfigurationError
from tests.python.docs.pages import FLAGS


def test_the_examples_of_the_clock_do_what_they_say() -> None:
    text = testing.ManualClock.__doc__ or ""
    names = {"ManualClock": testing.ManualClock}
    example = doctest.DocTestParser().get_doctest(text, names, "ManualClock", None, None)
    assert len(example.examples) > 3
    assert doctest.DocTestRunner(optionflags=FLAGS).run(example).failed == 0


def test_all_that_it_exports_is_there() -> None:
    assert testing.__all__ == ["ManualClock"]
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_importing_it_imports_nothing_else() -> None:
    code = """if True:
        import sys, millpond
        before = set(sys.modules)
        import millpond.testing
        print(sorted(set(sys.modules) - before))
    """
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['millpond.testing']"


def test_caches_may_share_a_clock_and_it_may_step_back() -> None:
    clock = testing.ManualClock(start=100)
    first, second = mp.Cache(ttl=10, clock=clock), mp.Cache(ttl=20, clock=clock)
    first["a"] = second["a"] = 1
    clock.advance(15)
    assert ("a" in first, "a" in second) == (False, True)
    clock.advance(-15)
    first["b"] = 1
    clock.advance(9)
    assert "b" in first
    clock.advance(1)
    assert "b" not in first


@pytest.mark.parametrize("seconds", [4e9, float("nan"), -4e9])
def test_a_clock_stays_within_its_bounds(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="within"):
        testing.ManualClock().advance(seconds)
    with pytest.raises(ConfigurationError, match="within"):
        testing.ManualClock(start=seconds)
