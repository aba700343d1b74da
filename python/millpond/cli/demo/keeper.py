"""Runs a program as long as standard input is open: `python -m millpond.cli.demo.keeper PROGRAM …`.

What the demo starts this way ends with the demo, however that ends: the system closes the pipe. It
ends by SIGKILL, so closing the pipe is also how the demo kills it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run the command; return its exit code, below 0 if a signal ended it."""
    # The terminal sends Ctrl-C to the whole group; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(  # noqa: S603 (what the demo wants to run)
        command, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        threading.Thread(target=_kill_at_eof, args=(process,), daemon=True).start()
        return process.wait()


def _kill_at_eof(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
