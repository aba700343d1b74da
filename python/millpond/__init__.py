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
    "MillpondError",
    "cache_control",
    "default_cache",
    "disabled",
    "observe",
    "with_cache",
]

TYPE_CHECKING = False  # typing's own name for it, without the time that importing typing takes
if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        # Read when asked for: the import of importlib.metadata takes longer than all of millpond.
        if name == "__version__":
            from millpond._version import installed_version

            return installed_version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
