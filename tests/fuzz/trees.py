"""Trees of Python values made of a fuzzer's bytes."""

from typing import Any

from millpond import _engine


class Meddler:
    """Hashable; when hashed it walks again, changes a container of the tree, or raises."""

    busy = False

    def __init__(self, number: int, containers: list[Any]) -> None:
        self.number = number
        self.containers = containers

    def __hash__(self) -> int:
        if Meddler.busy:
            return self.number
        Meddler.busy = True
        try:
            return self.meddle()
        finally:
            Meddler.busy = False

    def meddle(self) -> int:
        """Does what its number says."""
        action = self.number % 5
        if action == 1:
            raise ZeroDivisionError
        if self.containers and action > 1:
            victim = self.containers[self.number % len(self.containers)]
            if action == 2 or not isinstance(victim, list | dict):
                _engine.fingerprint([1, {"a": "b"}])
            elif action == 3:
                victim.clear()
            elif isinstance(victim, list):
                victim[:] = [[] for _ in victim]
            else:
                victim.update((name, []) for name in list(victim))
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class Text(str):
    """A subclass with a dict."""


class Maker:
    """Makes trees of what the fuzzer gives."""

    def __init__(self, data: Any, plain: bool) -> None:
        self.data = data
        self.plain = plain
        self.containers: list[Any] = []

    def text(self) -> str:
        """A str of one of CPython's widths."""
        size = self.data.ConsumeIntInRange(0, 400 if self.data.ConsumeBool() else 12)
        return self.data.ConsumeUnicode(size)

    def leaf(self, kind: int) -> Any:
        """A hashable value without content of its own."""
        data = self.data
        match kind:
            case 0:
                return (None, True, False, ...)[data.ConsumeIntInRange(0, 3)]
            case 1:
                return data.ConsumeInt(data.ConsumeIntInRange(1, 40))
            case 2:
                return data.ConsumeFloat()
            case 3:
                return data.ConsumeBytes(data.ConsumeIntInRange(0, 40))
            case 4:
                return complex(data.ConsumeRegularFloat(), data.ConsumeRegularFloat())
            case 5 if not self.plain:
                return Meddler(data.ConsumeIntInRange(0, 100), self.containers)
            case 6 if not self.plain:
                return Text(self.text())
        return self.text()

    def hashable(self, depth: int) -> Any:
        """What may be a key of a dict or a member of a set."""
        kind = self.data.ConsumeIntInRange(0, 9)
        if kind == 9 and depth < 8:
            return tuple(self.hashable(depth + 1) for _ in range(self.size()))
        return self.leaf(kind)

    def size(self) -> int:
        """How many items; a few containers are large."""
        return self.data.ConsumeIntInRange(0, 30 if self.data.ConsumeIntInRange(0, 9) == 9 else 4)

    def tree(self, depth: int = 0) -> Any:
        """Any value; sometimes a container that is in the tree already, or within itself."""
        data = self.data
        kind = data.ConsumeIntInRange(0, 13)
        if kind < 8 or depth > 110 or not data.remaining_bytes():
            return self.leaf(kind)
        if kind == 8:
            return tuple(self.tree(depth + 1) for _ in range(self.size()))
        if kind == 9 and self.containers and not self.plain:
            return self.containers[data.ConsumeIntInRange(0, len(self.containers) - 1)]
        if kind == 10:
            try:
                return {self.hashable(depth) for _ in range(self.size())}
            except ZeroDivisionError:
                return None
        if kind > 11:
            made: dict[Any, Any] = {}
            self.containers.append(made)
            for _ in range(self.size()):
                name = self.text() if kind == 12 else self.hashable(depth)
                try:
                    made[name] = self.tree(depth + 1)
                except ZeroDivisionError:
                    continue
            return made
        items: list[Any] = []
        self.containers.append(items)
        items.extend(self.tree(depth + 1) for _ in range(self.size()))
        return items


def turned(tree: Any) -> Any:
    """The same tree with its dicts and sets filled backwards."""
    if isinstance(tree, dict):
        return {turned(key): turned(each) for key, each in reversed(tree.items())}
    if isinstance(tree, list | tuple):
        return type(tree)(map(turned, tree))
    return {*[*tree][::-1]} if isinstance(tree, set) else tree
