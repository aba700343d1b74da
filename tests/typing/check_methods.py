"""What type checkers make of decorated methods: `self` and `cls` are bound, the rest is kept.

mypy and pyright run over this file; it is never executed.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import Generic, TypeVar, assert_type

from millpond import CacheInfo, with_cache

T = TypeVar("T")


class Service:
    @with_cache
    def plain(self, user_id: int) -> str:
        return ""

    @with_cache(ttl=60, shared=True)
    def with_options(self, user_id: int, locale: str = "en") -> bytes:
        return b""

    @with_cache
    async def asynchronous(self, user_id: int) -> str:
        return ""

    @with_cache
    @classmethod
    def of_class(cls, user_id: int) -> str:
        return ""

    @with_cache(ttl=60)
    @classmethod
    def of_class_with_options(cls, user_id: int) -> str:
        return ""

    @with_cache
    @classmethod
    async def of_class_asynchronous(cls, user_id: int) -> str:
        return ""

    @with_cache
    @staticmethod
    def static(user_id: int) -> str:
        return ""

    @with_cache(ttl=60)
    @staticmethod
    async def static_asynchronous(user_id: int) -> str:
        return ""

    @classmethod
    @with_cache
    def under_classmethod(cls, user_id: int) -> str:
        return ""

    @staticmethod
    @with_cache
    def under_staticmethod(user_id: int) -> str:
        return ""

    @property
    @with_cache
    def under_property(self) -> str:
        return ""


class Child(Service):
    pass


class Repository(Generic[T]):
    def __init__(self, kind: type[T]) -> None:
        self.kind = kind

    @with_cache
    def find(self, key: str) -> T:
        return self.kind()


def check_bound_methods(service: Service, child: Child) -> None:
    assert_type(service.plain(1), str)
    assert_type(service.plain(user_id=1), str)
    assert_type(child.plain(1), str)
    assert_type(service.with_options(1, locale="de"), bytes)
    assert_type(service.plain.cache_info(), CacheInfo)
    assert_type(service.plain.cache_key(1), bytes)
    assert_type(service.plain.cache_invalidate(user_id=1), bool)
    assert_type(service.plain.cache_refresh(1), str)
    service.plain.cache_set("", 1)
    service.plain("1")  # type: ignore[arg-type]
    service.plain(service, 1)  # type: ignore[call-arg, arg-type]
    service.plain.cache_key()  # type: ignore[call-arg]


def check_methods_read_from_the_class(service: Service) -> None:
    assert_type(Service.plain(service, 1), str)
    assert_type(Service.plain.cache_info(), CacheInfo)
    Service.plain.cache_clear()
    Service.plain.cache_invalidate(service, 1)
    Service.plain(1)  # type: ignore[call-arg, arg-type]


async def check_async_methods(service: Service) -> None:
    assert_type(await service.asynchronous(1), str)
    assert_type(await Service.asynchronous(service, 1), str)
    assert_type(await service.asynchronous.cache_refresh(1), str)
    await service.asynchronous("1")  # type: ignore[arg-type]


async def check_class_methods(service: Service) -> None:
    assert_type(Service.of_class(1), str)
    assert_type(service.of_class(1), str)
    assert_type(Service.of_class_with_options(user_id=1), str)
    assert_type(await Service.of_class_asynchronous(1), str)
    assert_type(Service.of_class.cache_info(), CacheInfo)
    assert_type(Service.of_class.cache_contains(1), bool)
    Service.of_class("1")  # type: ignore[arg-type]
    Service.of_class(Service, 1)  # type: ignore[call-arg, arg-type]


async def check_static_methods(service: Service) -> None:
    assert_type(Service.static(1), str)
    assert_type(service.static(1), str)
    assert_type(await service.static_asynchronous(1), str)
    assert_type(service.static.cache_info(), CacheInfo)
    service.static("1")  # type: ignore[arg-type]
    service.static(service, 1)  # type: ignore[call-arg, arg-type]


def check_the_decorator_below_others(service: Service) -> None:
    assert_type(Service.under_classmethod(1), str)
    assert_type(Service.under_staticmethod(1), str)
    assert_type(service.under_property, str)
    Service.under_classmethod("1")  # type: ignore[arg-type]


def check_generic_classes(texts: Repository[str], counts: Repository[int]) -> None:
    assert_type(texts.find("a"), str)
    assert_type(counts.find("a"), int)
    assert_type(counts.find.cache_refresh("a"), int)
    counts.find(1)  # type: ignore[arg-type]
