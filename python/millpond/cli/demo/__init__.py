"""`millpond demo`: the real OpenAI client, a cache in front of it, and what that saves.

The traffic of a help line (or a recorded trace) asks a model questions through a function that is
decorated with `with_cache`. The model is a local process that speaks OpenAI's API over HTTP, so the
demo costs nothing, unless `--real` is given.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from millpond.cli.demo.settings import add_arguments, read
from millpond.errors import missing_extra

__all__ = ["add_arguments", "run"]

EXTRA_PACKAGES = {"openai": "openai", "rich": "rich", "genai_prices": "genai-prices"}
SHARING_EXTRAS = {"redis": "redis", "msgspec": "typed"}


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and return its exit code.

    Raises:
        MissingExtraError: The extra `demo` is not installed.
        CommandError: The options, the trace or the provider are no good.
    """
    for module, package in EXTRA_PACKAGES.items():
        if find_spec(module) is None:
            raise missing_extra("millpond demo", package, "demo")
    settings = read(arguments)
    if settings.shares:
        for package, extra in SHARING_EXTRAS.items():
            if find_spec(package) is None:
                raise missing_extra("millpond demo --redis", package, extra)
    from millpond.cli.demo.session import run_demo

    return run_demo(settings)
