"""The default weigher on the values that services keep: pydantic models and numpy arrays."""

import sys
from typing import Any

import numpy as np
import pydantic
import pytest

from millpond._engine import weigh

MEGABYTE = 1_000_000


class Message(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    role: str
    parts: list[str]
    _cached: str = pydantic.PrivateAttr(default="")


def test_pydantic_fields_extras_and_private_attributes_count() -> None:
    message = Message(role="user", parts=["p" * MEGABYTE])
    empty = weigh(Message(role="user", parts=[]))
    assert MEGABYTE < weigh(message) < MEGABYTE + empty + 200
    message._cached = "c" * MEGABYTE
    assert weigh(message) > 2 * MEGABYTE
    more = Message(role="user", parts=[], note="n" * MEGABYTE)  # type: ignore[call-arg]
    assert weigh(more) > MEGABYTE


def test_an_empty_pydantic_model_does_not_weigh_its_class() -> None:
    assert weigh(Message(role="user", parts=[])) < 3000


@pytest.mark.parametrize("shape", [(1000,), (10, 100), ()])
def test_an_array_weighs_its_data(shape: tuple[int, ...]) -> None:
    value = np.zeros(shape)
    assert weigh(value) == sys.getsizeof(value) >= value.nbytes


def test_a_view_weighs_the_memory_that_it_keeps_alive_once() -> None:
    base = np.zeros(MEGABYTE, dtype=np.uint8)
    assert weigh(base[:10]) > MEGABYTE
    assert weigh([base[:10], base[10:20], base]) < MEGABYTE + 2000
    assert weigh(np.zeros(MEGABYTE, dtype=np.uint8).reshape(1000, 1000)) > MEGABYTE
    assert weigh(np.frombuffer(b"x" * MEGABYTE, dtype=np.uint8)) > MEGABYTE


def test_an_array_of_objects_weighs_its_elements() -> None:
    texts: Any = np.array(["t" * 1000 + str(i) for i in range(100)], dtype=object)
    assert weigh(texts) > 100_000
    assert weigh(texts.reshape(10, 10)) > 100_000
    assert weigh(np.array([None, 1], dtype=object)) < 500


def test_a_subclass_of_array_weighs_its_data_and_attributes() -> None:
    class Embedding(np.ndarray[Any, Any]):
        note: str

    value = np.zeros(1000).view(Embedding)
    value.note = "n" * MEGABYTE
    assert weigh(value) > 8000 + MEGABYTE


def test_records_and_scalars_weigh_little() -> None:
    assert 0 < weigh(np.float64(1.5)) < 100
    record: Any = np.zeros(10, dtype=[("a", "i4"), ("b", "f8")])
    assert 120 <= weigh(record) < 500
