"""Fuzzes the keys: trees made of the fuzzer's bytes, against the plain Python encoder.

`make fuzz` runs it with an extension that guides the fuzzer, and that the address and
undefined-behaviour sanitizers watch. By hand, with atheris and any millpond installed:
`python -m tests.fuzz.fuzz_keys -max_total_time=60` at the top of the repository; the options are
libFuzzer's.
"""

import sys

import atheris

from millpond import _engine
from millpond.errors import KeyingError

# Which trees are made, and which branches the plain encoder takes, guides the fuzzer.
with atheris.instrument_imports(include=["tests"]):
    from tests.fuzz.trees import Maker, turned
    from tests.python.keys import reference


def one_input(data: bytes) -> None:
    """Plain trees have the specified key; others have one, or an error that was promised."""
    provider = atheris.FuzzedDataProvider(data)
    typed, plain = provider.ConsumeBool(), provider.ConsumeBool()
    tree = Maker(provider, plain).tree()
    for key in (_engine.fingerprint, _engine.shared_key):
        try:
            code = key(tree, typed=typed)
        except KeyingError as error:
            if plain and "levels" not in str(error):
                raise
            continue
        except ZeroDivisionError:
            if plain:
                raise
            continue
        if plain:
            if key(turned(tree), typed=typed) != code:
                raise AssertionError("the order of a dict or set counted")
            if key is _engine.shared_key and code != reference.shared_key(tree, typed=typed):
                raise AssertionError("not the specified bytes")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
