"""`Signer`: HMAC-SHA256 over pickles, verified before anything looks into them."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, final

from millpond.errors import bad_option
from millpond.io.secrets import secret_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence


@final
class Signer:
    """Secrets of HMAC: the first one signs, any of them verifies.

    Whoever has one can make every process that reads his pickles run code of his.

    Args:
        secrets: at least 16 bytes, or a str that is base64 of as many; or several of them.

    Raises:
        ConfigurationError, OptionTypeError: there is no secret, or one too short.

    Example:
        >>> signer = Signer(bytes(range(32)))
        >>> signed = signer.sign(b"content", b"bound to this")
        >>> signer.verified(signed, b"bound to this")
        b'content'
        >>> signer.verified(signed, b"bound to that") is None
        True
    """

    # Bytes that signing adds.
    EXTRA = 32

    __slots__ = ("_secrets",)

    def __init__(self, secrets: bytes | str | Sequence[bytes | str]) -> None:
        given = [secrets] if isinstance(secrets, bytes | str) else list(secrets)
        if not given:
            raise bad_option("secret", [], "one secret or more")
        self._secrets = [secret_bytes(each, f"secret[{i}]") for i, each in enumerate(given)]

    def sign(self, content: bytes, associated: bytes) -> bytes:
        """Put a signature in front that also covers `associated`."""
        return self._tag(self._secrets[0], content, associated) + content

    def verified(self, signed: bytes, associated: bytes) -> bytes | None:
        """What was signed, or None: by no secret of these, for another `associated`, or changed."""
        tag, content = signed[: self.EXTRA], signed[self.EXTRA :]
        for secret in self._secrets:
            if hmac.compare_digest(tag, self._tag(secret, content, associated)):
                return content
        return None

    @staticmethod
    def _tag(secret: bytes, content: bytes, associated: bytes) -> bytes:
        # Lengths first, so that no byte can pass from one part to the other.
        frame = len(associated).to_bytes(8, "little") + associated
        return hmac.digest(secret, b"millpond pickle\0" + frame + content, "sha256")

    def __repr__(self) -> str:
        count = len(self._secrets)
        return f"<Signer with {count} secret{'s' if count != 1 else ''}>"

    def __reduce__(self) -> str:
        raise TypeError("a Signer holds secrets and is not pickled")
