"""millpond: caching for Python services that call AI models."""

from millpond.cache import (
    Cache,
    CacheInfo,
    CallRecord,
    cache_control,
    default_cache,
    disabled,
    observe,
    with_cache,
)
from millpond.errors import MillpondError

__all__ = [
    "Cache",
    "CacheInfo",
    "CallRecord",
    "Engine",
    "MillpondError",
    "cache_control",
    "configure",
    "default_cache",
    "disabled",
    "observe",
    "with_cache",
]

TYPE_CHECKING = False  # typing's own name for it, without the time that importing typing takes
if TYPE_CHECKING:
    from millpond.engine import Engine, configure

    __version__: str
else:

    def __getattr__(name: str) -> object:
        # Read when asked for: what these import takes longer than all the rest of millpond.
        if name in ("Engine", "configure"):
            from millpond import engine

            return getattr(engine, name)
        if name == "__version__":
            from millpond._version import installed_version

            return installed_version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
