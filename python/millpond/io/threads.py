"""`begin`: a thread in the background, where the system may have no room for another.

A process may have as many threads as it is allowed, and none more while the interpreter shuts down.
Whoever needs one then goes on without, or says that it cannot; and tries again the next time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def begin(name: str, run: Callable[..., Any], *args: Any) -> threading.Thread | None:
    """A daemon that runs `run(*args)`; None if it cannot be started."""
    thread = threading.Thread(target=run, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
