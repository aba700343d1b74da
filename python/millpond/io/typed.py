"""`Typed`: values of an annotated type as msgpack, by msgspec.

It is used where the annotation names classes with fields (dataclasses, pydantic models, TypedDict,
NamedTuple, msgspec.Struct), which the tagged encoding does not know. A value is stored this way
only if what comes back is the same in type and content at every depth, which is tried when it is
stored.

Values inside that msgspec does not know, but the tagged encoding does (paths, numpy arrays,
ranges ...), go in with their tagged encoding.
"""

from __future__ import annotations

from datetime import timezone
from typing import Any, final

from millpond import _engine
from millpond._engine import Unencodable
from millpond.io.exact import is_within, same
from millpond.io.models import is_model, model_from_bytes, model_to_bytes
from millpond.io.schema import inner_nodes, node_digest

# Classes that the tagged encoding takes and msgspec does not.
_LEAVES = (complex, range, timezone)
_LEAF_MODULES = frozenset({"pathlib", "fractions", "zoneinfo", "numpy"})
# The nodes of msgspec.inspect that stand for classes with fields.
_RECORDS = frozenset({"DataclassType", "NamedTupleType", "StructType", "TypedDictType"})


@final
class Typed:
    """How values of one annotation are written and read. Made once; safe in threads.

    Attributes:
        schema: the digest of the annotation's structure.
        has_records: whether the annotation names classes with fields.
    """

    __slots__ = ("_decoder", "_encoder", "_most", "_open", "has_records", "schema")

    def __init__(self, node: Any, decoder: Any, encoder: Any, most: int) -> None:
        names = _node_names(node, set())
        self._decoder = decoder
        self._encoder = encoder
        self._most = most
        # Where anything may stand, sharing may make a small value endless when it is written out.
        self._open = bool(names & {"AnyType", "CustomType"})
        self.schema = node_digest(node)
        self.has_records = bool(names & (_RECORDS | {"model"}))

    def encode(self, value: Any) -> bytes:
        """The msgpack of a value.

        Raises:
            Unencodable: the value would not come back the same.
        """
        if self._open and not is_within(value, self._most):
            raise _not("oversized", f"it has more than {self._most} parts")
        try:
            content: bytes = self._encoder.encode(value)
        except Unencodable:
            raise
        except Exception as error:
            # UnicodeEncodeError, OverflowError, RecursionError, or what a model's own code raises.
            raise _not("type", f"msgpack has no form for it ({type(error).__name__})") from error
        if len(content) > self._most:
            raise _not("oversized", f"it takes more than {self._most} bytes")
        try:
            back = self._decoder.decode(content)
        except Exception as error:
            raise _not(
                "type", f"it is not what the annotation says ({type(error).__name__})"
            ) from (error)
        if not same(value, back):
            raise _not("type", "it would not come back in the same types and content")
        return content

    def decode(self, content: bytes) -> Any:
        """The value; raises any Exception for what is none of the annotation's."""
        return self._decoder.decode(content)


def typed(annotation: Any, most: int, readonly: bool) -> Typed | None:
    """How values of an annotation are written; None if msgspec is missing or does not know it."""
    try:
        import msgspec
        from msgspec import inspect
    except ImportError:
        return None

    def enc_hook(value: Any) -> bytes:
        # Of anything: what pyright sees is `type[Unknown]`.
        kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
        if is_model(kind):
            return model_to_bytes(value)
        if _is_leaf(kind):
            return _engine.encode_tagged(value, most)
        raise NotImplementedError

    def dec_hook(kind: Any, content: Any) -> Any:
        kind = getattr(kind, "__origin__", kind)
        if kind is object:
            return content
        if is_model(kind):
            return model_from_bytes(kind, content)
        value: Any = _engine.decode_tagged(content, readonly)
        if not _is_leaf(value.__class__):
            raise NotImplementedError
        return value

    try:
        node = inspect.type_info(annotation)
        decoder = msgspec.msgpack.Decoder(annotation, dec_hook=dec_hook)
        return Typed(node, decoder, msgspec.msgpack.Encoder(enc_hook=enc_hook), most)
    except Exception:  # noqa: BLE001 (a name that cannot be resolved, a type it does not take)
        return None


def _is_leaf(kind: type[Any]) -> bool:
    return kind in _LEAVES or kind.__module__.partition(".")[0] in _LEAF_MODULES


def _node_names(node: Any, seen: set[int]) -> set[str]:
    """The kinds of nodes that an annotation is made of; "model" for pydantic's."""
    if id(node) in seen:
        return set()
    seen.add(id(node))
    names = {type(node).__name__}
    kind = getattr(node, "cls", None)
    if is_model(kind):
        names.add("model")
    for each in (*inner_nodes(node), *(field.type for field in getattr(node, "fields", ()))):
        names |= _node_names(each, seen)
    return names


def _not(reason: str, why: str) -> Unencodable:
    error = Unencodable(f"the value: {why}")
    error.reason = reason
    return error
