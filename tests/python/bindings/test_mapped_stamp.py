"""`MappedStamp` as Python sees it; what it does is tested in C++ (base/mapped_stamp_test.cpp)."""

import ctypes
import os
from pathlib import Path

import pytest

from millpond._engine import MappedStamp
from millpond.errors import SnapshotError


def test_it_counts_and_its_buffer_is_the_number(tmp_path: Path) -> None:
    stamp, other = MappedStamp(tmp_path / "stamp"), MappedStamp(os.fspath(tmp_path / "stamp"))
    word = memoryview(other).cast("Q")

    assert (stamp.value(), stamp.announced(), word[0]) == (0, 0, 0)
    assert stamp.advance(7) == 1
    assert (other.value(), other.announced(), word[0]) == (1, 7, 1)
    assert ctypes.c_uint64.from_address(stamp.address).value == 1
    epoch = stamp.epoch()
    stamp.restart()
    assert (other.announced(), other.epoch()) == (0, epoch + 1)
    assert word[0] == 2
    with pytest.raises(TypeError, match="read-only"):
        word[0] = 3


def test_a_buffer_keeps_it_alive(tmp_path: Path) -> None:
    view = memoryview(MappedStamp(tmp_path / "stamp"))
    MappedStamp(tmp_path / "stamp").advance(1)
    assert view.cast("Q")[0] == 1


def test_what_the_system_refuses_is_an_os_error_of_its_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        MappedStamp(tmp_path / "missing" / "stamp")
    with pytest.raises(IsADirectoryError):
        MappedStamp(tmp_path)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    (tmp_path / "foreign").write_bytes(b"no stamp")
    with pytest.raises(SnapshotError, match="foreign is no stamp"):
        MappedStamp(tmp_path / "foreign")
    with pytest.raises(TypeError):
        MappedStamp(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="null"):
        MappedStamp("a\0b")
    with pytest.raises(TypeError, match="keyword"):
        MappedStamp(path="stamp")  # type: ignore[call-arg]
    stamp = MappedStamp(tmp_path / "stamp")
    with pytest.raises(OverflowError):
        stamp.advance(-1)
    assert stamp.value() == 0
