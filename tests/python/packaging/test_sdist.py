"""The sdist holds all that is needed to build, and nothing that was built."""

import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[3]
_BUILD = "import sys, scikit_build_core.build as b; print(b.build_sdist(sys.argv[1]))"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The size of each file of a fresh sdist, by its path below the top folder."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-W", "ignore", "-c", _BUILD, str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        files = [member for member in sdist.getmembers() if member.isfile()]
    return {str(PurePosixPath(*PurePosixPath(f.name).parts[1:])): f.size for f in files}


def test_it_holds_every_source_that_git_knows(members: dict[str, int]) -> None:
    wanted = ["CMakeLists.txt", "LICENSE", "README.md", "cpp", "pyproject.toml", "python"]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *wanted]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    sources = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}

    assert len(sources) > 10
    assert sources - members.keys() == set()


def test_it_holds_nothing_that_was_built(members: dict[str, int]) -> None:
    tops = {name.split("/")[0] for name in members}
    suffixes = {PurePosixPath(name).suffix for name in members}

    assert not tops & {"build", "dist", "site", "coverage", ".venv", ".git"}
    assert not suffixes & {".so", ".o", ".a", ".pyc", ".whl"}


def test_it_is_small(members: dict[str, int]) -> None:
    assert sum(members.values()) < 8 * 1024 * 1024
