"""Where files of ours may be: a folder of this user's alone.

What a cache holds is as private as what it was made from, and a database that somebody else could
swap would make this process read what they wrote. So a folder that belongs to another user, or
that others may write to, is refused rather than repaired.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

NEW_FOLDER = 0o700
NEW_FILE = 0o600
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def data_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder for data: `given`, else MILLPOND_DATA, else the user's cache folder/millpond.

    >>> data_folder("/srv/app")
    PosixPath('/srv/app')
    """
    if given is not None:
        return Path(given).expanduser().absolute()
    if named := os.environ.get("MILLPOND_DATA"):
        return Path(named).expanduser().absolute()
    # The XDG base directory specification has relative paths ignored.
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if Path(cache).is_absolute() else Path("~/.cache").expanduser()
    return base.absolute() / "millpond"


def private_folder(folder: Path) -> None:
    """Make the folder if it is not there, and see that nobody else can change what is in it.

    Raises:
        PermissionError: it belongs to somebody else, or others may write to it.
        OSError: it cannot be made, or is no folder.
    """
    _make(folder)
    # A link is its owner's word for another place; only our own and root's is taken.
    link = folder.lstat()
    if link.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"{folder} belongs to user {link.st_uid}; give a folder of user {os.geteuid()}"
        )
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder} is no folder; give one that is, or does not exist yet")
    if status.st_uid != os.geteuid():
        raise PermissionError(
            f"{folder} belongs to user {status.st_uid}; give a folder of user {os.geteuid()}"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise PermissionError(
            f"{folder} may be written to by other users (mode {status.st_mode & 0o777:o}); "
            f"chmod go-w it, or give another"
        )


def private_file(file: Path) -> bool:
    """Make an empty file of the owner's alone unless there is one; whether it was made here.

    Raises:
        PermissionError: what is there belongs to somebody else, or is a link.
        OSError: it cannot be made, or is no file.
    """
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, NEW_FILE)
    except FileExistsError:
        _check_file(file)
        return False
    try:
        # The umask may have taken from what the owner is meant to have.
        os.fchmod(handle, NEW_FILE)
    finally:
        os.close(handle)
    return True


def _make(folder: Path) -> None:
    missing: list[Path] = []
    while not folder.exists() and not folder.is_symlink():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        try:
            new.mkdir(NEW_FOLDER)
        except FileExistsError:
            continue
        new.chmod(NEW_FOLDER)


def _check_file(file: Path) -> None:
    # Never opened here: closing a descriptor of a database file would give up the locks that
    # SQLite holds on it in this process (POSIX advisory locks go with the first close).
    status = file.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise PermissionError(f"{file} is a symbolic link; remove it, or give another folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{file} is no regular file; remove it, or give another folder")
    if status.st_uid != os.geteuid():
        raise PermissionError(
            f"{file} belongs to user {status.st_uid}, and this is user {os.geteuid()}"
        )
    if status.st_mode & 0o077:
        file.chmod(NEW_FILE)
