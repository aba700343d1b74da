"""What a command raises when it cannot go on."""

from millpond.errors import MillpondError


class CommandError(MillpondError):
    """A command cannot do what it was asked; the message says what was found and what may be.

    Only commands raise it, and `main` prints it as one line and exits with 2.
    """
