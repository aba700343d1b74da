"""Where data goes, and which folders are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from millpond.io.folder import data_folder, private_file, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other users")


@pytest.fixture(params=[0, 0o777], ids=["umask 0", "umask 777"])
def hostile_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_is_given_comes_first_then_millpond_data_then_the_user_s_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MILLPOND_DATA", raising=False)
    assert data_folder() == tmp_path / "home/.cache/millpond"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_folder() == tmp_path / "home/.cache/millpond"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_folder() == tmp_path / "xdg/millpond"
    monkeypatch.setenv("MILLPOND_DATA", "~/data")
    assert data_folder() == tmp_path / "home/data"
    assert data_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.chdir(tmp_path)
    assert data_folder("here") == tmp_path / "here"


@pytest.mark.usefixtures("hostile_umask")
def test_what_is_made_is_the_owner_s_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    private_folder(folder)
    private_folder(folder)
    assert mode(folder) == mode(folder.parent) == 0o700
    assert private_file(folder / "file")
    assert not private_file(folder / "file")
    assert mode(folder / "file") == 0o600


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o777, 0o1777], ids=oct)
def test_a_folder_that_others_may_write_to_is_refused_and_left(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(bits)
    with pytest.raises(PermissionError, match="may be written to by other users"):
        private_folder(folder)
    assert mode(folder) == bits


@pytest.mark.parametrize("bits", [0o700, 0o755], ids=oct)
def test_a_folder_that_others_may_only_read_is_left_as_it_is(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    folder.chmod(bits)
    private_folder(folder)
    assert mode(folder) == bits


@needs_root
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(0o700)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to user 65534"):
        private_folder(folder)
    file = tmp_path / "file"
    file.touch(0o600)
    os.chown(file, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="belongs to user 65534"):
        private_file(file)


@needs_root
def test_a_link_of_another_user_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir(0o700)
    link = tmp_path / "link"
    link.symlink_to(own)
    private_folder(link)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(PermissionError, match="belongs to user 65534"):
        private_folder(link)


def test_a_file_is_no_folder_and_a_folder_or_link_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    with pytest.raises(NotADirectoryError):
        private_folder(tmp_path / "file")
    with pytest.raises(OSError, match="no regular file"):
        private_file(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(PermissionError, match="symbolic link"):
        private_file(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PermissionError, match="symbolic link"):
        private_file(tmp_path / "dangling")
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_others_may_read_is_made_private(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    file.chmod(0o644)
    assert not private_file(file)
    assert mode(file) == 0o600
    assert file.read_bytes() == b"kept"
