"""Pauses of random length: those who failed together should not come back together."""

from __future__ import annotations

import random


def jittered(seconds: float, least: float = 0.5) -> float:
    """A random part of these seconds: from `least`, a share of them, to all.

    A child of a fork draws others than its parent, since Python seeds it anew.
    """
    return seconds * random.uniform(least, 1.0)  # noqa: S311 (nobody gains by guessing a pause)
