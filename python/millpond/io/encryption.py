"""`Keyring`: the keys that entries are encrypted with, AES-GCM by the package cryptography."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any, final

from millpond.errors import OptionTypeError, bad_option, missing_extra
from millpond.io.secrets import secret_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_BYTES = (16, 24, 32)


@final
class Keyring:
    """Keys of AES: the first one encrypts, any of them decrypts.

    To change keys put a new one in front, everywhere, and take the old one away when the last entry
    that it encrypted has expired. A process that does not have the new key yet misses meanwhile.

    The nonce is random and has 96 bits, so a key should encrypt no more than 2^32 entries (NIST SP
    800-38D, 8.3): at a hundred fills a second, change it once a year.

    Args:
        keys: 16, 24 or 32 bytes each, or a str that is base64 of as many.

    Raises:
        ConfigurationError, OptionTypeError: there is no key, one of another length, or one twice.
        MissingExtraError: the package cryptography is not installed.

    Example:
        >>> keyring = Keyring([bytes(range(32))])
        >>> sealed = keyring.seal(b"content", b"bound to this")
        >>> keyring.unseal(sealed, b"bound to this")
        b'content'
        >>> keyring.unseal(sealed, b"bound to that") is None
        True
        >>> keyring
        <Keyring of 1 key>
    """

    # Bytes that sealing adds.
    EXTRA = _ID_BYTES + _NONCE_BYTES + _TAG_BYTES

    __slots__ = ("_by_id", "_first", "_first_id", "_forged")

    def __init__(self, keys: Sequence[bytes | str]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise missing_extra("encryption", "cryptography", "encryption") from error
        if isinstance(keys, str | bytes):
            raise OptionTypeError("keys: allowed is a list of keys, the one to encrypt with first")
        self._forged = InvalidTag
        self._by_id: dict[bytes, Any] = {}
        for place, given in enumerate(keys):
            key = secret_bytes(given, f"keys[{place}]", _KEY_BYTES)
            name = hashlib.sha256(b"millpond key id\0" + key).digest()[:_ID_BYTES]
            if name in self._by_id:
                raise bad_option(f"keys[{place}]", ..., "a key that does not stand before it too")
            self._by_id[name] = AESGCM(key)
        if not self._by_id:
            raise bad_option("keys", [], "one key or more")
        self._first_id = next(iter(self._by_id))
        self._first = self._by_id[self._first_id]

    def seal(self, content: bytes, associated: bytes) -> bytes:
        """Encrypt, and bind to `associated`, which is not part of the result."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._first.encrypt(nonce, content, associated)
        return b"".join((self._first_id, nonce, sealed))

    def unseal(self, sealed: bytes, associated: bytes) -> bytes | None:
        """What was sealed, or None: for another key or `associated`, or it was changed."""
        key = self._by_id.get(sealed[:_ID_BYTES])
        if key is None or len(sealed) < self.EXTRA:
            return None
        nonce = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        try:
            content: bytes = key.decrypt(nonce, sealed[_ID_BYTES + _NONCE_BYTES :], associated)
        except self._forged:
            return None
        return content

    def __repr__(self) -> str:
        count = len(self._by_id)
        return f"<Keyring of {count} key{'s' if count != 1 else ''}>"

    def __reduce__(self) -> str:
        raise TypeError("a Keyring holds secrets and is not pickled")
