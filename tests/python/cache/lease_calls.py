"""What the tests of a cache's alarm and of its watched word share."""

from __future__ import annotations

from typing import Any


class Calls:
    """A function that notes its calls, and does something more if it was given that."""

    def __init__(self, act: Any = lambda: None) -> None:
        self.act = act
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        self.act()
