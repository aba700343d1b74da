"""`make setup` where this user may install nothing: it says what to install, and makes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = (
    "awk bash cat dirname env git grep head id ls make mkdir nproc readlink rm sed sh sort touch tr"
)
NOBODY = 65534
NEEDED = " ".join(
    re.findall(r"^PACKAGES [:+]= (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
).split()
PYTHONS = ["python3", "python3-dev", "python3-venv"]


class Machine:
    """A copy of what `make setup` runs, and all the commands that it finds."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.bin = where / "bin"
        self.bin.mkdir()
        for tool in TOOLS.split():
            found = shutil.which(tool)
            assert found is not None, tool
            (self.bin / tool).symlink_to(found)
        shutil.copytree(ROOT / ".ci", where / ".ci")
        shutil.copy(ROOT / "Makefile", where)
        self.installed([])

    def command(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def installed(self, packages: list[str]) -> None:
        """What dpkg knows: these, of which one was removed and left its configuration."""
        lines = [*(f"ii {name}" for name in packages), "rc ninja-build"]
        self.command("dpkg-query", f"printf '%s\\n' {' '.join(map(repr, lines))}; exit 1")

    def setup(self, *arguments: str) -> str:
        root = os.geteuid() == 0
        done = subprocess.run(
            ["make", "setup", *arguments],
            cwd=self.where,
            env={"PATH": str(self.bin), "HOME": str(self.where), "LANG": "C.UTF-8"},
            user=NOBODY if root else None,
            extra_groups=[] if root else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert done.stdout == ""
        assert not (self.where / ".venv").exists()
        return done.stderr


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Machine(Path(folder))


def install(*packages: str) -> str:
    return f"    apt-get install {' '.join(packages)}\n"


def test_all_that_is_missing_is_named_in_one_command(machine: Machine) -> None:
    assert install(*NEEDED, *PYTHONS) in machine.setup()


def test_only_what_is_missing_is_named(machine: Machine) -> None:
    machine.installed([*(name for name in NEEDED if name not in ("g++", "ninja-build")), *PYTHONS])
    assert install("g++", "ninja-build") in machine.setup()


def test_a_sudo_that_asks_for_a_password_is_not_waited_for(machine: Machine) -> None:
    machine.command("sudo", "[ $1 = -n ] && exit 1; cat")
    assert install(*NEEDED, *PYTHONS) in machine.setup()


def test_a_python_in_parts_is_completed(machine: Machine) -> None:
    """As Debian's is without python3-venv: it starts, and has no ensurepip."""
    machine.command("python3", "exit 0")
    machine.installed([*NEEDED, "python3", "python3-dev"])
    assert install("python3-venv") in machine.setup()


def test_a_python_that_is_too_old_or_too_new_is_told_from_none(machine: Machine) -> None:
    machine.installed([*NEEDED, *PYTHONS])
    assert "no CPython 3.11, 3.12 or 3.13 with headers and ensurepip" in machine.setup()
    machine.command("python3.10", 'case "$2" in *ensurepip*) ;; *) echo 3.10 ;; esac')
    assert "PYTHON=python3.10: millpond is built with CPython 3.11" in machine.setup(
        "PYTHON=python3.10"
    )
    assert "PYTHON=nowhere: there is no such command" in machine.setup("PYTHON=nowhere")
