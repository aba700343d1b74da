"""Forked children that do something and say how it went."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Child:
    """Runs `work` in a fork of this process; `result()` is what it returned.

    A child that hangs is ended by its own alarm, so no test waits for ever.
    """

    def __init__(self, work: Callable[[], Any], seconds: int = 60) -> None:
        receive, send = os.pipe()
        with warnings.catch_warnings():
            # That forks and threads do not go together is what some of these tests are about.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            os.close(receive)
            signal.alarm(seconds)
            _answer(work, send)
        os.close(send)
        self._receive = receive

    def result(self) -> Any:
        """What `work` returned; an error if it raised or was killed."""
        with os.fdopen(self._receive, "rb") as pipe:
            answer = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        if not answer:
            raise AssertionError(f"the child ended with status {status}")
        done, value = pickle.loads(answer)
        if not done:
            raise AssertionError(f"the child failed:\n{value}")
        return value


def _answer(work: Callable[[], Any], send: int) -> None:
    try:
        answer = pickle.dumps((True, work()))
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    try:
        with os.fdopen(send, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)
