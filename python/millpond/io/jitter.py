"""Pauses of random length: those who failed together should not come back together."""

from __future__ import annotations

import random
from typing import Final

# The system's, which has no state: a child of a fork draws others than its parent, and a program
# that seeds Python's own gets the same from it whatever threads of ours do meanwhile.
_chance: Final = random.SystemRandom()


def jittered(seconds: float, least: float = 0.5) -> float:
    """A random part of these seconds: from `least`, a share of them, to all."""
    return seconds * _chance.uniform(least, 1.0)
