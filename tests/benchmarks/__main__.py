"""Entry point, both as a folder (`python tests/benchmarks`) and as a package (`python -m …`)."""

import sys
from pathlib import Path

if __package__:
    from .cli import main
else:
    # Run as a folder, Python puts this very folder on the path, where a module of ours could hide
    # one of the standard library's. The parent takes its place.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from benchmarks.cli import main

if __name__ == "__main__":
    sys.exit(main())
