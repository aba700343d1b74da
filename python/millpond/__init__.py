"""millpond: caching, sessions, metrics and health for Python services that call AI models."""

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
