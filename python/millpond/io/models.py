"""pydantic models in entries: written and read by themselves, as JSON.

Only the fields that were set are written, so those that were not are unset again; what a model
leaves out or masks when it is written, a secret for one, shows when it is read back, and such a
model is not stored. pydantic is not imported here: who has a model has imported it.
"""

from __future__ import annotations

import sys
from typing import Any


def is_model(kind: Any) -> bool:
    """Whether it is a class of pydantic models."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _by_name() -> dict[str, bool]:
    """Whose names are read: those of the fields, where pydantic can, from 2.11 on."""
    major, minor = map(int, str(sys.modules["pydantic"].VERSION).split(".")[:2])
    return {"by_alias": False, "by_name": True} if (major, minor) >= (2, 11) else {}


def model_to_bytes(model: Any) -> bytes:
    """The JSON of a model."""
    # Of anything: what pyright sees is `type[Unknown]`.
    kind: Any = type(model)  # pyright: ignore[reportUnknownVariableType]
    content: bytes = kind.__pydantic_serializer__.to_json(
        model, exclude_unset=True, round_trip=True, by_alias=not _by_name(), warnings=False
    )
    return content


def model_from_bytes(kind: Any, content: bytes) -> Any:
    """The model of a class; raises pydantic's error for JSON that is not one's."""
    return kind.__pydantic_validator__.validate_json(content, **_by_name())


def model_schema(kind: Any) -> Any:
    """What JSON Schema says of a class, and the names of its fields if it cannot."""
    try:
        return kind.model_json_schema()
    except Exception:  # noqa: BLE001 (each type may raise its own; then less is known)
        fields = kind.model_fields.items()
        return [(name, str(field.annotation), field.is_required()) for name, field in fields]
