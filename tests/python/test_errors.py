"""The error tree: as drawn, catchable as builtins, picklable, and its messages say what to do."""

import builtins
import copy
import doctest
import pickle
import re
import subprocess
import sys

import pytest

from millpond import errors

CLASSES = [getattr(errors, name) for name in errors.__all__]


def drawn() -> dict[str, tuple[str, str]]:
    """The tree at the top of errors.py: class name to (parent's name, builtin's name)."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+) \[(\w+)\]", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            tree[found[2]] = (path[depth - 1] if depth else "Exception", found[3])
    return tree


def test_the_drawing_shows_every_class_and_only_those() -> None:
    assert sorted(drawn()) == sorted(errors.__all__)
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_drawing_shows_the_true_bases(kind: type[errors.MillpondError]) -> None:
    parent, builtin = drawn()[kind.__name__]
    assert kind.__bases__[0].__name__ == parent
    assert issubclass(kind, getattr(builtins, builtin))


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_has_an_example_or_a_reason_in_its_docstring(
    kind: type[errors.MillpondError],
) -> None:
    assert kind.__doc__ is not None
    assert kind.__doc__ != kind.__bases__[0].__doc__


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_each_error_survives_pickling_with_message_notes_and_attributes(
    kind: type[errors.MillpondError], protocol: int
) -> None:
    error = kind("what was given, what is allowed")
    error.add_note("seen while warming")
    for back in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(back) is kind
        assert str(back) == "what was given, what is allowed"
        assert back.args == error.args
        assert back.__notes__ == ["seen while warming"]


def test_a_missing_extra_keeps_the_package_name_when_pickled() -> None:
    error = errors.missing_extra("the Redis tier", "redis", "redis")
    assert pickle.loads(pickle.dumps(error)).name == "redis"
    assert "pip install 'millpond[redis]'" in str(error)


def test_an_option_message_names_the_option_what_was_given_allowed_and_advised() -> None:
    error = errors.bad_option("policy", "lifo", '"lru" or "fifo"', "see the guide")
    assert isinstance(error, errors.ConfigurationError)
    assert str(error) == 'policy=\'lifo\': allowed is "lru" or "fifo"; see the guide'


def test_a_type_message_names_the_type_given() -> None:
    error = errors.bad_option_type("ttl", [60], "seconds, timedelta or text")
    assert isinstance(error, errors.OptionTypeError)
    assert str(error) == "ttl=[60] (list): allowed is seconds, timedelta or text"


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        ("x" * 5, 7, "'xxxxx'"),
        ("x" * 6, 7, "'xxx..."),
        (Broken(), 80, "<Broken whose repr() raises>"),
        (type("Tall", (), {"__repr__": lambda self: "a\nb"})(), 80, "a b"),
    ],
)
def test_a_value_is_shown_on_one_line_within_the_limit(
    value: object, limit: int, text: str
) -> None:
    assert errors.shown(value, limit) == text


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(errors)
    assert result.attempted >= 4
    assert result.failed == 0


def test_errors_imports_nothing() -> None:
    source = f"open({errors.__file__!r}, encoding='utf-8').read()"
    code = (
        "import sys; before = set(sys.modules)\n"
        f"exec(compile({source}, 'errors', 'exec'), {{'__name__': 'errors'}})\n"
        "print(sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
