"""The cache: `Cache`, `with_cache` and the scopes that steer calls."""

from typing import TYPE_CHECKING

from millpond._engine import CacheInfo
from millpond.cache.control import CallRecord, cache_control, disabled, observe
from millpond.cache.store import Cache, default_cache

if TYPE_CHECKING:
    from millpond.cache._types import with_cache
else:
    from millpond.cache.decorator import with_cache

__all__ = [
    "Cache",
    "CacheInfo",
    "CallRecord",
    "cache_control",
    "default_cache",
    "disabled",
    "observe",
    "with_cache",
]
