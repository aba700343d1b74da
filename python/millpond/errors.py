"""Every error that millpond raises on purpose.

Each class is a MillpondError and also the builtin in brackets, so code that already catches
ValueError, TypeError, TimeoutError or ImportError keeps working.

    MillpondError [Exception]
    ├── ConfigurationError [ValueError]       an option is outside what is allowed
    ├── OptionTypeError [TypeError]           an option has a type it does not take
    ├── KeyingError [TypeError]               an argument or key cannot be used as a cache key
    ├── ValueRefusedError [TypeError]         a value cannot be cached: a coroutine, an open file
    ├── WeightError [ValueError]              a weigher did not return a whole number of bytes >= 0
    ├── LimitError [ValueError]               a stated bound would be passed
    ├── WaitTimeoutError [TimeoutError]       waited longer than wait_timeout for another's load
    ├── SnapshotError [ValueError]            a snapshot is foreign, truncated or damaged
    ├── TierError [ConnectionError]           a tier did not do what it was asked; `kind` says why
    │   └── TierTimeoutError [TimeoutError]   it did not answer in the time it had
    ├── UnsupportedError [NotImplementedError]   understood, but not possible here
    └── MissingExtraError [ImportError]       a feature needs packages of an extra

What user code raises (a loader, a weigher, a listener) is never wrapped in one of these: it
arrives as it is. A miss is not an error either; only `cache[key]` raises KeyError, as a dict does.
"""

__all__ = [
    "ConfigurationError",
    "KeyingError",
    "LimitError",
    "MillpondError",
    "MissingExtraError",
    "OptionTypeError",
    "SnapshotError",
    "TierError",
    "TierTimeoutError",
    "UnsupportedError",
    "ValueRefusedError",
    "WaitTimeoutError",
    "WeightError",
]


class MillpondError(Exception):
    """Base of every error that millpond raises on purpose; catch it to catch them all."""


class ConfigurationError(MillpondError, ValueError):
    """An option is outside what is allowed: `max_entries=-1`, `ttl="soon"`, `tags="{nobody}"`."""


class OptionTypeError(MillpondError, TypeError):
    """An option has a type it does not take: `max_entries="many"`, `tags="user"` for a tuple."""


class KeyingError(MillpondError, TypeError):
    """An argument or key cannot be used as a cache key; the message names it and `key=`."""


class ValueRefusedError(MillpondError, TypeError):
    """A value cannot be cached, because it can be used only once or belongs to this moment.

    Coroutines and other awaitables, generators and other iterators, open files.
    """


class WeightError(MillpondError, ValueError):
    """A `weigher=` did not return a whole number of bytes of at least 0."""


class LimitError(MillpondError, ValueError):
    """A stated bound would be passed: the deepest key, the largest snapshot, the most tags."""


class WaitTimeoutError(MillpondError, TimeoutError):
    """Waited longer than `wait_timeout` for a load that another caller is running.

    The load itself goes on, and its result is cached when it arrives.
    """


class SnapshotError(MillpondError, ValueError):
    """A snapshot is foreign, truncated or damaged; it was refused and nothing was changed."""


class TierError(MillpondError, ConnectionError):
    """A tier did not do what it was asked.

    A call of a cached function never raises it: there a tier that fails is passed by, counted and
    left alone for a while. What asks a tier for an answer of its own (a counter, a scan) raises it.

    The message never holds a password, a key or a value.

    Attributes:
        tier: the name of the tier.
        kind: "unavailable" (refused, cut off), "not_ready" (loading, no primary), "full" (memory or
            disk), "configuration" (not permitted, no such database), "damaged" (a reply or file
            that cannot be read), or "timeout".
    """

    def __init__(self, *message: object, tier: str = "", kind: str = "unavailable") -> None:
        super().__init__(*message)
        self.tier = tier
        self.kind = kind


class TierTimeoutError(TierError, TimeoutError):
    """A tier did not answer in the time it had; its kind is "timeout"."""

    def __init__(self, *message: object, tier: str = "", kind: str = "timeout") -> None:
        super().__init__(*message, tier=tier, kind=kind)


class UnsupportedError(MillpondError, NotImplementedError):
    """What was asked for is understood, but not possible on this platform or with this value."""


class MissingExtraError(MillpondError, ImportError):
    """A feature needs packages that an extra of millpond brings; the message names the extra."""


def shown(value: object, limit: int = 80) -> str:
    """`repr(value)` for a message: on one line, at most `limit` characters, never raising.

    >>> shown("x" * 100, 20)
    "'xxxxxxxxxxxxxxxx..."
    """
    try:
        text = " ".join(repr(value).split("\n"))
    except Exception:  # noqa: BLE001 (whatever a foreign repr() raises must not hide the message)
        text = f"<{type(value).__name__} whose repr() raises>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def bad_option(name: str, given: object, allowed: str, advice: str = "") -> ConfigurationError:
    """The error for an option whose value is outside what is allowed; raise what it returns.

    >>> str(bad_option("max_entries", -1, "a whole number >= 0 or None (no bound)"))
    'max_entries=-1: allowed is a whole number >= 0 or None (no bound)'
    """
    return ConfigurationError(_message(name, shown(given), allowed, advice))


def bad_option_type(name: str, given: object, allowed: str, advice: str = "") -> OptionTypeError:
    """The error for an option of a type it does not take; raise what it returns.

    >>> str(bad_option_type("cache", 3, "a millpond.Cache"))
    'cache=3 (int): allowed is a millpond.Cache'
    """
    kind = type(given).__name__
    return OptionTypeError(_message(name, f"{shown(given)} ({kind})", allowed, advice))


def missing_extra(feature: str, package: str, extra: str) -> MissingExtraError:
    """The error for a package that only an extra brings; raise it from the ImportError.

    >>> str(missing_extra("the Redis tier", "redis", "redis"))
    "the Redis tier needs the package redis: pip install 'millpond[redis]'"
    """
    error = MissingExtraError(
        f"{feature} needs the package {package}: pip install 'millpond[{extra}]'"
    )
    error.name = package
    return error


def _message(name: str, given: str, allowed: str, advice: str) -> str:
    text = f"{name}={given}: allowed is {allowed}"
    return f"{text}; {advice}" if advice else text
