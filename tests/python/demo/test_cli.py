"""The command line: help, version, mistakes, and how little it imports."""

import json
import subprocess
import sys

import pytest

from millpond.cli import main


def test_help_and_no_command_tell_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert main([]) == 0

    assert capsys.readouterr().out == told
    assert told.startswith("usage: millpond")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("millpond ")


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nonsense"]) == 2
    assert "--nonsense" in capsys.readouterr().err


def test_asking_for_help_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from millpond.cli import main\n"
        "main(['--help'])\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"asyncio", "openai", "rich"} & set(json.loads(done.stderr))
