"""Names the machine, the interpreter and the commit that figures were made on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from . import loops, stats


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {name.strip(): value.strip() for name, value in fields.items()}
    name = found.get("model name") or platform.machine()
    numbers = [found.get("cpu family"), found.get("model")]
    if all(numbers):
        name += f" (family {numbers[0]}, model {numbers[1]})"
    return name


def _commit() -> str:
    """Return the commit that is measured, with a plus if the tree differs from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def loop_floor() -> float:
    """Return the nanoseconds that one turn of an empty timed loop takes."""
    inputs = ["key"] * 10_000
    loop = loops.compile_loop("pass", {})
    return stats.median([loop(inputs) / len(inputs) for _ in range(31)])


def describe() -> dict[str, str]:
    """Return CPU, cores, kernel, load and CPython, ready to print and to save."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "commit": _commit(),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "compiler": platform.python_compiler(),
        "flags": "GIL off" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "GIL on",
        "loop_floor_ns": f"{loop_floor():.1f}",
    }
