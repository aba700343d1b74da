"""`Codec`: values as the entries that tiers keep, and back.

An entry is an envelope (`millpond/cache/envelope.hpp`) around an encoded value; its format is
specified in `docs/design/entries.md`. There are three encodings:

- *tagged* gives back exactly the builtin types stored: tuples, sets, UUIDs, Decimals, datetimes and
  numpy arrays stay what they were;
- *msgpack*, by msgspec, takes the classes with fields that an annotation names;
- *pickle* takes nearly everything, only where it is asked for, and is signed.

Two outcomes are expected rather than errors, so they are no `MillpondError`:

- `Unencodable`: the value stays in memory only. `reason` is "type" (a class without a stored form),
  "depth", "changed" (while it was walked), "failed" (its own code raised) or "oversized".
- `Unreadable`: a miss. `kind` is "foreign", "version", "truncated", "damaged", "oversized",
  "schema" (stored under another annotation or codec), "type" (of a class, a time zone or a library
  that this process does not have), "key" (encrypted or signed with a secret that is not known, for
  another key of the store, or not at all) or "extra" (compressed in a way that the engine does not
  read, and no zstd is installed).
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal, final

from millpond import _engine
from millpond._engine import Head, Unencodable, Unreadable
from millpond.errors import bad_option, bad_option_type, missing_extra, shown
from millpond.io import compression

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millpond.io.encryption import Keyring
    from millpond.io.signing import Signer
    from millpond.io.typed import Typed

__all__ = ["MAX_VALUE_BYTES", "Codec", "Head", "Unencodable", "Unreadable"]

# Bytes of one encoded value, unless an option says otherwise.
MAX_VALUE_BYTES = 16 * 2**20

_TAGGED, _MSGPACK, _PICKLE = 1, 2, 3
_COMPRESSED, _ENCRYPTED, _NEGATIVE = 1, 2, 4


@final
class Codec:
    """Makes and reads the entries of one function or cache. Made once; safe in threads.

    Args:
        annotation: what the values are said to be, resolved (no str); None for nothing known. An
            entry that was stored under another structure is not read.
        codec: "auto" is msgpack for an annotation that names classes with fields, and tagged for
            all else; "tagged"; "msgpack"; or "pickle", which needs `secret`.
        compress: whether zstd makes entries smaller, from 1 KiB on, where it saves a tenth.
        keyring: encrypts entries; then one that is not encrypted is not read.
        secret: signs pickles: at least 16 bytes or base64 of them; or several, the first signs.
        max_value_bytes: the most bytes that an encoded value may take before it is compressed; a
            larger one is not stored, and an entry that claims more is not read.
        readonly: gives numpy arrays back that cannot be written to; large ones then share their
            memory with the entry that was read.

    Raises:
        ConfigurationError, OptionTypeError: an option is outside what is allowed.
        MissingExtraError: codec="msgpack" without msgspec.

    Example:
        >>> codec = Codec()
        >>> data = codec.encode((1, "a"), key="k", stored_us=10, expires_us=20)
        >>> codec.head(data).expires_us
        20
        >>> codec.decode(data, key="k")
        (1, 'a')
    """

    __slots__ = (
        "_compress",
        "_keyring",
        "_most",
        "_plain",
        "_readonly",
        "_schema",
        "_signer",
        "_typed",
        "_writes_typed",
    )

    def __init__(
        self,
        annotation: Any = None,
        *,
        codec: Literal["auto", "tagged", "msgpack", "pickle"] = "auto",
        compress: bool = True,
        keyring: Keyring | None = None,
        secret: bytes | str | Sequence[bytes | str] | None = None,
        max_value_bytes: int = MAX_VALUE_BYTES,
        readonly: bool = False,
    ) -> None:
        if codec not in ("auto", "tagged", "msgpack", "pickle"):
            raise bad_option("codec", codec, "'auto', 'tagged', 'msgpack' or 'pickle'")
        self._most = _checked_most(max_value_bytes)
        self._compress = compress
        self._keyring = keyring
        self._readonly = readonly
        self._signer = _signer(codec, secret)
        # Whether a sound entry may be read without asking for a key.
        self._plain = keyring is None and self._signer is None
        self._typed, self._schema = _structure(annotation, codec, self._most, readonly)
        if codec == "msgpack" and self._typed is None:
            raise _no_msgpack(annotation)
        self._writes_typed = self._typed is not None and (
            codec == "msgpack" or self._typed.has_records
        )

    def encode(
        self,
        value: Any,
        *,
        key: str,
        stored_us: int,
        expires_us: int,
        fresh_us: int = 0,
        stamps: Sequence[tuple[str, int]] = (),
        cost: float = 0.0,
        load_seconds: float = 0.0,
        negative: bool = False,
    ) -> bytes:
        """The entry for a value.

        Args:
            key: the key that it will be stored under; an encrypted or signed entry is bound to it.
            stored_us: now, in microseconds by the clock of the tier.
            expires_us: the end of its life by the same clock; 0 for none.
            fresh_us: when the value becomes stale, before that end; 0: not as long as it lives.
            stamps: the generation names (32 hexadecimal digits) and stamps that it is stored under.
            cost: dollars that the call cost.
            load_seconds: how long the call took.
            negative: whether the value, None, says that there is none.

        Raises:
            Unencodable: the value has no stored form, or a larger one than is allowed.
        """
        codec, content = self._encoded(value)
        flags = _NEGATIVE if negative else 0
        payload = content
        if self._compress and (packed := compression.compressed(content)) is not None:
            flags |= _COMPRESSED
            payload = packed
        if self._plain:
            header = (codec, flags, len(content), self._schema, stored_us, expires_us, fresh_us)
            return _engine.make_entry(*header, cost, load_seconds, stamps, payload)
        keyring, signer = self._keyring, self._signer
        size = len(payload)
        if signer is not None:
            size += signer.EXTRA
        if keyring is not None:
            flags |= _ENCRYPTED
            size += keyring.EXTRA
        header = (codec, flags, len(content), self._schema, stored_us, expires_us, fresh_us)
        associated = _engine.associated_with(*header, cost, load_seconds, stamps, size)
        bound = _bound(associated, key)
        if signer is not None:
            payload = signer.sign(payload, bound)
        if keyring is not None:
            payload = keyring.seal(payload, bound)
        return _engine.make_entry(*header, cost, load_seconds, stamps, payload)

    def head(self, data: bytes) -> Head:
        """What the envelope of an entry says, verified; the payload is not looked at.

        Raises:
            Unreadable: the envelope cannot be read.
        """
        return _engine.read_head(data, self._most)

    def decode(self, data: bytes, *, key: str) -> Any:
        """The value of an entry.

        Args:
            data: the entry.
            key: the key that it was stored under.

        Raises:
            Unreadable: the entry cannot be read.
        """
        if self._plain:
            value = _engine.read_value(
                data, self._schema, self._most, self._readonly, compression.decompressed
            )
            if value is not NotImplemented:
                return value
        return self.opened(data, key)

    def __repr__(self) -> str:
        writes = "pickle" if self._signer else "msgpack" if self._writes_typed else "tagged"
        return f"<Codec {writes}{', encrypted' if self._keyring else ''}>"

    def _encoded(self, value: Any) -> tuple[int, bytes]:
        """The number of an encoding and what it makes of a value."""
        if self._signer is not None:
            return _PICKLE, _pickled(value, self._most)
        if self._typed is None or not self._writes_typed:
            return _TAGGED, _engine.encode_tagged(value, self._most)
        try:
            return _MSGPACK, self._typed.encode(value)
        except Unencodable as not_typed:
            try:
                return _TAGGED, _engine.encode_tagged(value, self._most)
            except Unencodable as error:
                error.add_note(f"as {self!r}: {not_typed}")
                raise

    @property
    def terms(self) -> tuple[bool, int, int, bool, Callable[[bytes, int], bytes | None]]:
        """Whether `opened` is needed only for what is not plain, and how to read what is."""
        return (
            self._plain,
            self._schema,
            self._most,
            self._readonly,
            compression.decompressed,
        )

    def opened(self, data: bytes, key: str) -> Any:
        """The value of an entry that is more than tagged bytes in an envelope."""
        head = _engine.read_head(data, self._most)
        if head.schema != self._schema:
            raise _unreadable("schema")
        payload = _engine.payload_of(head)
        if head.encrypted is (self._keyring is None):
            raise _unreadable("key")
        if (head.codec == "pickle") is (self._signer is None):
            raise _unreadable("schema")
        if not self._plain:
            payload = self._unlocked(payload, _bound(_engine.associated_of(head), key))
        if head.compressed:
            content = compression.decompressed(payload, head.content_size)
            if content is None:
                raise _unreadable("damaged" if compression.can_decompress() else "extra")
            payload = content
        elif len(payload) != head.content_size:
            raise _unreadable("damaged")
        return self._decoded(head.codec, payload)

    def _unlocked(self, payload: bytes, bound: bytes) -> bytes:
        opened: bytes | None = payload
        if self._keyring is not None:
            opened = self._keyring.unseal(payload, bound)
        if self._signer is not None and opened is not None:
            opened = self._signer.verified(opened, bound)
        if opened is None:
            raise _unreadable("key")
        return opened

    def _decoded(self, codec: str, content: bytes) -> Any:
        if codec == "tagged":
            return _engine.decode_tagged(content, self._readonly)
        if codec == "pickle":
            import pickle

            try:
                return pickle.loads(content)  # noqa: S301 (verified to be signed by one of ours)
            except Exception as error:
                raise _unreadable("type") from error
        if self._typed is None:
            raise _unreadable("schema")
        try:
            return self._typed.decode(content)
        except Exception as error:
            raise _unreadable("schema") from error


def _checked_most(given: Any) -> int:
    allowed = f"a whole number of bytes, 1 to {_engine.MOST_ENTRY_BYTES}"
    if not isinstance(given, int) or isinstance(given, bool):
        raise bad_option_type("max_value_bytes", given, allowed)
    if not 1 <= given <= _engine.MOST_ENTRY_BYTES:
        raise bad_option("max_value_bytes", given, allowed)
    return given


# What most programs never need is imported where it is first asked for.


def _signer(codec: str, secret: Any) -> Signer | None:
    if codec == "pickle" and secret is None:
        raise bad_option(
            "codec", codec, "'pickle' together with secret=, by which pickles are signed"
        )
    if secret is None:
        return None
    if codec != "pickle":
        raise bad_option("codec", codec, "'pickle' where secret= is given, which signs pickles")
    from millpond.io.signing import Signer

    return Signer(secret)


def _structure(annotation: Any, codec: str, most: int, readonly: bool) -> tuple[Typed | None, int]:
    """How values of an annotation become msgpack, if they do, and the digest of its structure."""
    if annotation is None and codec != "msgpack":
        return None, 0
    from millpond.io import schema
    from millpond.io.typed import typed

    known = typed(Any if annotation is None else annotation, most, readonly)
    digest = schema.plain_digest(annotation) if known is None else known.schema
    return (known if codec in ("auto", "msgpack") else None), digest


def _no_msgpack(annotation: Any) -> Exception:
    """Why there is no msgpack for an annotation."""
    if importlib.util.find_spec("msgspec") is None:
        return missing_extra("codec='msgpack'", "msgspec", "typed")
    allowed = f"'auto' for {shown(annotation)}, which msgspec does not know"
    return bad_option("codec", "msgpack", allowed)


def _pickled(value: Any, most: int) -> bytes:
    import pickle

    try:
        content = pickle.dumps(value, protocol=5)
    except RecursionError as error:
        raise _unencodable("depth", "it is nested too deep for pickle") from error
    except Exception as error:
        raise _unencodable("type", f"pickling it raised {type(error).__name__}") from error
    if len(content) > most:
        raise _unencodable("oversized", f"it takes more than {most} bytes")
    return content


def _bound(associated: bytes, key: str) -> bytes:
    """What encryption and signatures are bound to: the header, and the key of the store."""
    name = key.encode("utf-8", "surrogatepass")
    return len(name).to_bytes(4, "little") + name + associated


def _unreadable(kind: str) -> Unreadable:
    error = Unreadable(kind)
    error.kind = kind
    return error


def _unencodable(reason: str, why: str) -> Unencodable:
    error = Unencodable(f"the value: {why}")
    error.reason = reason
    return error
