"""Values past their life that tiers have: which one, and when it is served in place of a failure.

What may be served while it is loaded anew a tier's look has found already, as any other value; here
is what becomes of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millpond import _engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millpond.cache.flow import Flow
    from millpond.cache.looks import Look
    from millpond.cache.stage import Budget
    from millpond.cache.steps import Raised, Steps

_FROM_STALE: Final = 254


def youngest(looks: Sequence[Look], key: str) -> Look | None:
    """The look that found the youngest value past its life; None: there is none."""
    those = [look for look in looks if key in look.past]
    return max(those, key=lambda look: look.past[key].fresh, default=None)


def instead(
    flow: Flow,
    raised: Raised,
    key: str,
    names: list[str],
    looks: Sequence[Look],
    budget: Budget,
    store: bool,
    anew: bool,
) -> Steps:
    """What is served in place of a failure: a value past its life, if there is one.

    Its tier is asked again: what was invalidated meanwhile is never served.

    Args:
        flow: whose load failed.
        raised: by the function, or while another process was waited for.
        key, names: of the call.
        looks: into its tiers.
        budget: what is left of it.
        store: whether memory keeps what may have landed meanwhile.
        anew: whether the load is one of a value that its callers had been given already.
    """
    look = youngest(looks, key)
    window = flow.rules.stale_if
    if look is None or not window or not isinstance(raised.error, Exception):
        return raised
    found, again = yield from flow.looks.look(
        look.stage, [key], names, budget, store=store, anew=True
    )
    if found:
        return found[key]
    one: _engine.Loaded | None = None if again is None else again.past.get(key)
    if one is None or -one.fresh >= window:
        return raised
    if not anew:
        look.stage.monitor.count("stale_hit")
    flow.hidden(raised.error)
    return _engine.Loaded(one.value, 0, False, _FROM_STALE, one.cost)
