"""`wait_until`: the one way in which a test waits for something that others do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(
    condition: Callable[[], object],
    what: str = "it came true",
    seconds: float = 20.0,
    every: float = 0.005,
) -> None:
    """Ask until the condition holds; a failure of the test that names `what` if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s in vain: {what}")
        time.sleep(every)
