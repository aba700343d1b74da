"""`python -m millpond` is the `millpond` command, for where its script is not on the path."""

import sys

from millpond.cli import main

if __name__ == "__main__":
    sys.exit(main())
