"""Clang's thread-safety analysis holds what the engine says of its locks, and sees a breach."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_COUNTER = """
#include "millpond/base/sync.hpp"
using namespace millpond;
template <class Lock>
class Counter {
  public:
    void add() MILLPOND_EXCLUDES(lock_) { %s }
  private:
    void one_more() MILLPOND_REQUIRES(lock_) { ++count_; }
    Lock lock_;
    int count_ MILLPOND_GUARDED_BY(lock_) = 0;
};
template class Counter<NoLock>;
template class Counter<MutexLock>;
"""


def said_about(code: str) -> str:
    """What the analysis says of a source file, nothing if it is content."""
    clang = shutil.which("clang++")
    assert clang, "clang++ is needed; `make setup` installs it"
    command = [clang, "-std=c++20", "-fsyntax-only", "-Wthread-safety", "-Werror"]
    command += ["-xc++", "-", f"-I{ROOT / 'cpp' / 'include'}"]
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        command, input=code, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


def test_what_is_done_under_the_lock_passes() -> None:
    assert said_about(_COUNTER % "const LockGuard guard(lock_); one_more(); ++count_;") == ""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("++count_;", "requires holding mutex 'lock_'"),
        ("one_more();", "requires holding mutex 'lock_'"),
        ("const LockGuard guard(lock_); add();", "cannot call function 'add' while mutex"),
        ("lock_.lock(); one_more();", "still held at the end of function"),
    ],
    ids=["a guarded member", "a function that needs it", "twice", "kept"],
)
def test_a_breach_is_found_under_either_lock(body: str, expected: str) -> None:
    said = said_about(_COUNTER % body)

    for lock in ("NoLock", "MutexLock"):
        assert f"instantiation of member function 'Counter<millpond::{lock}>::add'" in said
    assert expected in said
