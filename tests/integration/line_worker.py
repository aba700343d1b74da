"""`LineWorker`: a process of a module of the tests, told and answering by lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any


class LineWorker:
    """`python -m tests.integration.<module> <argument>…`, which says "ready" when it is.

    Args:
        module: of this package.
        seconds: after which a process that says nothing is killed.
    """

    def __init__(self, module: str, *arguments: str, seconds: float = 60) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.integration.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._seconds = seconds

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        timer = threading.Timer(self._seconds, self.process.kill)
        timer.start()
        try:
            return self.process.stdout.readline()
        finally:
            timer.cancel()

    def answer(self) -> Any:
        return json.loads(self.line())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
