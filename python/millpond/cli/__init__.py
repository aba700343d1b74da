"""The `millpond` command.

Each subcommand is one module (or package) with `add_arguments(parser)` and `run(arguments) -> int`,
named once in `COMMANDS`. Only the module of the command that was typed is imported, and that module
imports what is heavy inside `run`, so `millpond --help` stays quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from millpond._version import installed_version
from millpond.errors import MillpondError


class CommandModule(Protocol):
    """What a subcommand's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None: ...

    def run(self, arguments: argparse.Namespace, /) -> int: ...


class Command(NamedTuple):
    """A row of the table of subcommands."""

    name: str
    module: str
    summary: str


COMMANDS = (
    Command(
        "demo",
        "millpond.cli.demo",
        "watch the cache save calls, time and dollars on live OpenAI traffic",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments after the program's name; None takes them from `sys.argv`.

    Example:
        >>> main(["--version"])  # doctest: +SKIP
        millpond 0.1.0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser, modules = _build_parser(words)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as stop:  # argparse exits by itself for --help, --version and mistakes.
        return stop.code if isinstance(stop.code, int) else 2
    if arguments.version:
        print(f"millpond {installed_version()}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return modules[arguments.command].run(arguments)
    except MillpondError as error:
        print(f"millpond {arguments.command}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # Whoever read our output, such as `head`, has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _build_parser(words: Sequence[str]) -> tuple[argparse.ArgumentParser, dict[str, CommandModule]]:
    """Make the parser; only the subcommand named in `words` is imported and filled in."""
    parser = argparse.ArgumentParser(
        prog="millpond",
        description="Caching for Python services that call AI models",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    modules: dict[str, CommandModule] = {}
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
        )
        if command.name in words:
            module = cast(CommandModule, import_module(command.module))
            module.add_arguments(subparser)
            modules[command.name] = module
    return parser, modules
