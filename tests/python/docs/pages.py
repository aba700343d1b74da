"""The examples of a Markdown page, as one program.

Every ```python block of a page counts, in order and in one namespace: a block with `>>>` is a
doctest, any other is run as it is. `<!-- not run: reason -->` on the line above leaves one out;
`<!-- with: redis -->` has the block speak to a server of the test's own, wherever the page says
`redis://localhost:6379`.
"""

import doctest
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
FLAGS = doctest.REPORT_NDIFF

# What a reader would write, and what stands for it in a test.
ADDRESSES = {"redis": "redis://localhost:6379"}

_BLOCK = re.compile(
    r"^(?:<!-- (?:(?P<not_run>not run: [^\n]+)|with: (?P<server>\w+)) -->\n)?"
    r"```python\n(?P<source>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A block of a page; `line` is that of its first line, from 1; `server` is what it needs."""

    line: int
    source: str
    server: str | None


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page that are to be run."""
    for match in _BLOCK.finditer(text):
        if match["not_run"] is None:
            line = text.count("\n", 0, match.start("source")) + 1
            yield Block(line, match["source"], match["server"])


def servers(text: str) -> set[str]:
    """The servers that a page needs."""
    return {block.server for block in blocks(text) if block.server is not None}


def run_page(name: str, text: str, urls: Mapping[str, str] | None = None) -> tuple[int, list[str]]:
    """Run the examples of a page: how many there were, and what went wrong.

    Args:
        urls: where the servers are that the page needs.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    parser, wrong, count = doctest.DocTestParser(), [], 0
    for line, source, server in blocks(text):
        if server is not None:
            source = source.replace(ADDRESSES[server], (urls or {})[server])
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
