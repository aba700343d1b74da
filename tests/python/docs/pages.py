"""The examples of a Markdown page, as one program.

Every ```python block of a page counts, in order and in one namespace: a block with `>>>` is a
doctest, any other is run as it is. `<!-- not run: reason -->` on the line above leaves one out.
"""

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FLAGS = doctest.REPORT_NDIFF

_BLOCK = re.compile(
    r"^(?P<not_run><!-- not run: [^\n]+ -->\n)?```python\n(?P<source>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of a page; `line` is that of its first line, from 1."""

    line: int
    source: str


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page that are to be run."""
    for match in _BLOCK.finditer(text):
        if match["not_run"] is None:
            yield Block(text.count("\n", 0, match.start("source")) + 1, match["source"])


def run_page(name: str, text: str) -> tuple[int, list[str]]:
    """Run the examples of a page: how many there were, and what went wrong."""
    names: dict[str, Any] = {"__name__": "__main__"}
    parser, wrong, count = doctest.DocTestParser(), [], 0
    for line, source in blocks(text):
        if ">>>" not in source:
            # Blank lines put the block where it stands in the page, for tracebacks.
            exec(compile("\n" * (line - 1) + source, name, "exec", dont_inherit=True), names)
            count += 1
            continue
        test = parser.get_doctest(source, names, name, name, line - 1)
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        count += runner.run(test, out=wrong.append, clear_globs=False).attempted
        names.update(test.globs)
    return count, wrong
