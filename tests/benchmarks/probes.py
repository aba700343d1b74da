"""Measurements that need an interpreter of their own: bytes, tasks in their thousands, imports.

A probe is a function of this harness that runs in a fresh process and answers with JSON. Bytes are
counted, not sampled: with PYTHONMALLOC=malloc every allocation of CPython, of C++ and of Rust goes
through glibc's malloc, and `mallinfo2` tells what it has handed out, block headers included. What a
library maps itself would escape that, so the growth of the resident set is told beside it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .model import Sampler, Unavailable

FLAG = "--probe"
_FOLDER = Path(__file__).resolve().parent
_SECONDS = 600


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2`; `uordblks` is the heap in use, `hblkhd` what malloc mapped."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated_bytes() -> int:
    """Return the bytes that malloc has handed out in this process."""
    libc = ctypes.CDLL(None)
    try:
        mallinfo2 = libc.mallinfo2
    except AttributeError as error:
        raise Unavailable("counting bytes needs mallinfo2 (glibc 2.33 or newer)") from error
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return int(info.uordblks) + int(info.hblkhd)


def resident_bytes() -> int:
    """Return the resident set of this process, 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def ask(function: Callable[..., dict[str, Any]], **arguments: Any) -> dict[str, Any]:
    """Run a module-level function of this harness in a fresh process and return its answer.

    Raises Unavailable if the function does so there, RuntimeError if the process fails.
    """
    module = function.__module__.split(".benchmarks.")[-1].removeprefix("benchmarks.")
    question = {"module": module, "function": function.__name__, "arguments": arguments}
    done = subprocess.run(
        [sys.executable, str(_FOLDER), FLAG, json.dumps(question)],
        env={**os.environ, "PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"probe {question['function']} failed: {last[0]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "unavailable" in answer:
        raise Unavailable(answer["unavailable"])
    return answer


def asked_already(answer: Callable[[], float]) -> Sampler:
    """Return `answer` as a sampler whose first sample is taken now, while the row is prepared: a
    contender that cannot run may then still say so."""
    first = [answer()]
    return lambda: first.pop() if first else answer()


def answer(text: str) -> int:
    """Run the question that `ask` put, in the fresh process, and print the answer."""
    question = json.loads(text)
    package = __name__.rpartition(".")[0]
    module = importlib.import_module(f"{package}.{question['module']}")
    try:
        found = getattr(module, question["function"])(**question["arguments"])
    except Unavailable as error:
        found = {"unavailable": str(error)}
    print(json.dumps(found))
    return 0


def processor_ms(code: str, environment: dict[str, str]) -> float:
    """Return the user and system time, in ms, of a fresh interpreter that runs `code`."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"`{code}` ended with {process.returncode}")
    return 1_000 * (usage.ru_utime + usage.ru_stime)
