"""The schema digest: 64 bits that stand for the structure of an annotation.

An entry that was stored under another structure is a miss, so that old and new releases of a
program can run side by side: the names, order and types of fields count, whether each is required,
and the names of classes; docstrings of dataclasses and default values of theirs do not.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from millpond.io.models import is_model, model_schema


def text_digest(text: str) -> int:
    """64 bits of a text; never 0, which stands for no annotation."""
    digest = hashlib.sha256(b"millpond schema 1\0" + text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "little") or 1


def plain_digest(annotation: Any) -> int:
    """The digest where nothing is known of the annotation but how it is written."""
    if isinstance(annotation, type):
        return text_digest(f"plain {class_name(annotation)}")
    return text_digest(f"plain {annotation!r}")


def node_digest(node: Any) -> int:
    """The digest of what `msgspec.inspect.type_info` says of an annotation."""
    described = _describe(node, {})
    return text_digest(json.dumps(described, sort_keys=True, default=repr))


def class_name(kind: Any) -> str:
    """The name a class is known by; that of the class itself for a `Box[int]`."""
    origin = getattr(kind, "__origin__", kind)
    return f"{origin.__module__}:{origin.__qualname__}"


def inner_nodes(node: Any) -> list[Any]:
    """The nodes right below one, but for those of its fields."""
    found = [getattr(node, one, None) for one in ("item_type", "key_type", "value_type")]
    for several in ("item_types", "types"):
        found.extend(getattr(node, several, ()))
    return [each for each in found if each is not None]


def _describe(node: Any, seen: dict[int, int]) -> Any:
    """Plain data that differs when the structure does. A class within itself is a number."""
    name = type(node).__name__
    if (number := seen.get(id(node))) is not None:
        return [name, number]
    seen[id(node)] = len(seen)
    parts: list[Any] = [name]
    if (kind := getattr(node, "cls", None)) is not None:
        parts.append(class_name(kind))
        if name == "EnumType":
            parts.append([[member.name, repr(member.value)] for member in kind])
        elif is_model(kind):
            parts.append(model_schema(kind))
    parts.extend(
        [field.encode_name, _describe(field.type, seen), field.required]
        for field in getattr(node, "fields", ())
    )
    parts.extend(_describe(inner, seen) for inner in inner_nodes(node))
    if name == "LiteralType":
        parts.append(sorted(map(repr, node.values)))
    if name == "StructType":
        parts.append([node.array_like, repr(node.tag), repr(node.tag_field)])
    return parts
