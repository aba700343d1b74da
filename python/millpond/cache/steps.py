"""Carrying out steps: generators that yield requests and are sent what came of them.

A request is (stage, operation, arguments) for a tier, (None, function, (args, kwargs)) for a call
of the user's, (None, PAUSE, (seconds,)), (None, WAIT, (turn, seconds)) until the turn is told
something, or (None, LISTEN, (listening,)) to begin hearing of what others do.
"""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING, Any, Final, final

from millpond.cache.gathered import gathering

if TYPE_CHECKING:
    from collections.abc import Generator

    from millpond.cache.stage import Stage

    Request = tuple[Stage | None, Any, tuple[Any, ...]]
    Steps = Generator[Request, Any, Any]

PAUSE: Final = object()
WAIT: Final = object()
LISTEN: Final = object()


@final
class Raised:
    """What the function raised, on its way through the steps: inside a generator, StopIteration
    would become another error."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


def drive(steps: Steps) -> Any:
    """Carries out the requests of a flow, one after the other."""
    together = gathering.get()
    given = result = None
    try:
        while True:
            try:
                stage, what, args = steps.send(given)
            except StopIteration as stop:
                result = stop.value
                break
            if stage is not None:
                if together is None:
                    given = stage.ask(args[0], what, *args[1:])
                else:
                    given = together.ask(stage, what, args)
            elif what is PAUSE:
                sleep(*args)
            elif what is WAIT:
                args[0].wait(args[1])
            elif what is LISTEN:
                args[0].begin()
            else:
                try:
                    given = what(*args[0], **args[1])
                except BaseException as error:  # noqa: BLE001 (raised again below)
                    given = Raised(error)
    finally:
        # Whatever ends this ends the steps now, and not when their last traceback is forgotten.
        steps.close()
    return result if type(result) is not Raised else _raise(result)


async def adrive(steps: Steps) -> Any:
    """The same, in an event loop."""
    together = gathering.get()
    given = result = None
    try:
        while True:
            try:
                stage, what, args = steps.send(given)
            except StopIteration as stop:
                result = stop.value
                break
            if stage is not None:
                if together is None:
                    given = await stage.aask(args[0], what, *args[1:])
                else:
                    given = await together.aask(stage, what, args)
            elif what is PAUSE:
                import asyncio

                await asyncio.sleep(*args)
            elif what is WAIT:
                await args[0].await_(args[1])
            elif what is LISTEN:
                await args[0].abegin()
            else:
                try:
                    given = await what(*args[0], **args[1])
                except BaseException as error:  # noqa: BLE001 (raised again below)
                    given = Raised(error)
    finally:
        steps.close()
    return result if type(result) is not Raised else _raise(result)


def _raise(raised: Raised) -> Any:
    try:
        raise raised.error
    finally:
        del raised.error  # The traceback refers to this frame.
