"""What tests of code with a cache need: a clock that stands still until the test moves it.

A cache made with `clock=` takes its time from it, so a test of what expires need not sleep.

    >>> from millpond import Cache
    >>> clock = ManualClock()
    >>> cache = Cache(ttl="10m", clock=clock)
    >>> cache["user"] = "Ada"
    >>> clock.advance(599.9)
    >>> cache.get("user")
    'Ada'
    >>> clock.advance(0.1)
    >>> cache.get("user") is None
    True

Whoever writes a tier of their own finds in `millpond.testing.tier_conformance` the checks that it
has to pass.
"""

from millpond._engine import ManualClock

__all__ = ["ManualClock"]
