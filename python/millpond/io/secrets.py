"""Secrets as options give them: bytes, or base64. No message ever shows one."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from millpond.errors import ConfigurationError, OptionTypeError

if TYPE_CHECKING:
    from collections.abc import Container


def secret_bytes(given: object, option: str, lengths: Container[int] | None = None) -> bytes:
    """The bytes of a secret.

    Args:
        given: bytes, or a str that is base64, of either alphabet, with or without padding.
        option: what to call it in a message.
        lengths: how many bytes it may have; at least 16 unless given.

    Raises:
        OptionTypeError: it is neither bytes nor a str.
        ConfigurationError: it is not base64, or of another length.
    """
    if isinstance(given, str):
        text = given.strip().replace("-", "+").replace("_", "/").rstrip("=")
        try:
            secret = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigurationError(
                f"{option} is a str that is not base64: allowed is bytes, or base64 as "
                "base64.b64encode(os.urandom(32)).decode() makes it"
            ) from None
    elif isinstance(given, bytes):
        secret = given
    else:
        raise OptionTypeError(
            f"{option} is a {type(given).__name__}: allowed is bytes, or a str in base64"
        )
    if lengths is None:
        if len(secret) >= 16:
            return secret
        allowed = "at least 16 bytes"
    else:
        if len(secret) in lengths:
            return secret
        allowed = f"one of {lengths} bytes"
    raise ConfigurationError(
        f"{option} has {len(secret)} bytes: allowed is {allowed}; os.urandom(32) makes a good one"
    )
