"""`.ci/once` runs a command once for each state of its inputs."""

import os
import subprocess
from pathlib import Path

import pytest

ONCE = Path(__file__).parents[3] / ".ci" / "once"


class Tree:
    """A checkout with one input and a command that counts how often it ran."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        (root / "sources").mkdir()
        (root / "sources/a.txt").write_text("one")

    def once(self, *inputs: str, command: str = "echo ran >> log") -> int:
        call = [str(ONCE), "stamp", *inputs, "--", "sh", "-c", command]
        return subprocess.run(call, cwd=self.root, check=False).returncode

    @property
    def runs(self) -> int:
        log = self.root / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_second_run_with_the_same_contents_does_nothing(tree: Tree) -> None:
    assert tree.once("sources") == 0
    os.utime(tree.root / "sources/a.txt", (1, 1))
    assert tree.once("sources") == 0

    assert tree.runs == 1


@pytest.mark.parametrize("change", ["edited", "added", "removed", "renamed"])
def test_any_change_of_the_inputs_runs_it_again(tree: Tree, change: str) -> None:
    tree.once("sources")

    file = tree.root / "sources/a.txt"
    if change == "edited":
        file.write_text("two")
    elif change == "added":
        (tree.root / "sources/b.txt").touch()
    elif change == "removed":
        file.unlink()
    else:
        file.rename(tree.root / "sources/b.txt")
    tree.once("sources")

    assert tree.runs == 2


def test_another_word_or_another_command_runs_it_again(tree: Tree) -> None:
    tree.once("sources", "3.11")
    tree.once("sources", "3.12")
    tree.once("sources", "3.12", command="echo ran >> log; true")

    assert tree.runs == 3


def test_a_file_that_git_ignores_is_no_input(tree: Tree) -> None:
    (tree.root / ".gitignore").write_text("*.log\n")
    tree.once("sources")
    (tree.root / "sources/noise.log").write_text("changed")
    tree.once("sources")

    assert tree.runs == 1


def test_a_failure_is_reported_and_tried_again(tree: Tree) -> None:
    failing = "echo ran >> log; exit 3"

    assert [tree.once("sources", command=failing) for _ in range(2)] == [3, 3]
    assert tree.runs == 2


def test_a_failure_forgets_an_earlier_success(tree: Tree) -> None:
    tree.once("sources", command="echo ran >> log; test ! -e broken")
    (tree.root / "sources/a.txt").write_text("two")
    (tree.root / "broken").touch()
    tree.once("sources", command="echo ran >> log; test ! -e broken")
    (tree.root / "sources/a.txt").write_text("one")

    assert tree.once("sources", command="echo ran >> log; test ! -e broken") == 1
    assert tree.runs == 3
