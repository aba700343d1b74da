"""An engine failure arrives as the same Python error through pybind11 and through raw code."""

import importlib
import sys

import pytest

import millpond
from millpond import errors
from millpond._engine import _testing

DOORS = [_testing.fail, _testing.fail_raw]
CASES = [
    ("invalid_argument", errors.ConfigurationError),
    ("limit_exceeded", errors.LimitError),
    ("corrupt", errors.SnapshotError),
    ("unsupported", errors.UnsupportedError),
    ("python", LookupError),
    ("pybind11", IndexError),
    ("any other", RuntimeError),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("kind", "expected"), CASES)
def test_each_failure_has_its_class_and_keeps_its_message(
    door: type[None], kind: str, expected: type[Exception]
) -> None:
    with pytest.raises(expected) as caught:
        door(kind, "max_bytes=-1: allowed is a number ≥ 0")
    assert type(caught.value) is expected
    assert str(caught.value) == "max_bytes=-1: allowed is a number ≥ 0"


@pytest.mark.parametrize("door", DOORS)
def test_running_out_of_memory_is_a_memory_error(door: type[None]) -> None:
    with pytest.raises(MemoryError):
        door("bad_alloc", "")


def test_raw_code_survives_what_is_not_a_cpp_exception() -> None:
    with pytest.raises(RuntimeError, match="not a C\\+\\+ exception"):
        _testing.fail_raw("not_an_exception", "")


@pytest.mark.parametrize("door", DOORS)
def test_bytes_that_are_not_text_are_shown_escaped(door: type[None]) -> None:
    with pytest.raises(errors.LimitError, match=r"key \\xff"):
        door("limit_exceeded", b"key \xff")


def test_the_class_is_the_one_that_the_module_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(millpond, "errors", errors)  # The import below replaces it.
    monkeypatch.delitem(sys.modules, "millpond.errors")
    fresh = importlib.import_module("millpond.errors")
    assert fresh.LimitError is not errors.LimitError
    with pytest.raises(fresh.LimitError):
        _testing.fail_raw("limit_exceeded", "full")


def test_a_broken_error_module_raises_its_own_import_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "millpond.errors", None)
    with pytest.raises(ImportError):
        _testing.fail_raw("limit_exceeded", "full")
