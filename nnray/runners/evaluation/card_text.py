"""The two forms of a card: Markdown, and one page of HTML that needs nothing beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nnray.runners.evaluation.card import Part
from nnray.runners.report.markup import Html, code, facts, grid, join, picture, table, tag
from nnray.runners.report.page import Section, page

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&!])")


def to_markdown(title: str, parts: Sequence[Part]) -> str:
    """A card as Markdown; its pictures stand beside it.

    Args:
        title: Its heading.
        parts: Its sections.
    """
    blocks = [f"# {_plain(title)}"]
    for part in parts:
        if body := list(_markdown(part)):
            blocks += [f"## {part.title}", *body]
    return "\n\n".join(blocks) + "\n"


def to_html(title: str, parts: Sequence[Part]) -> str:
    """A card as a page, with its pictures inside.

    Args:
        title: Its heading.
        parts: Its sections.
    """
    made = [(part, list(_html(part))) for part in parts]
    return page(title, [Section(part.title, join(body)) for part, body in made if body])


def _markdown(part: Part) -> Iterator[str]:
    if part.text:
        yield _plain(part.text)
    if part.facts:
        yield _rows(("", ""), [[name, value] for name, value in part.facts.items()])
    if part.rows:
        yield _rows(part.head, part.rows)
    if part.points:
        yield "\n".join(f"- {_plain(point)}" for point in part.points)
    if part.code:
        yield f"```console\n{part.code}\n```"
    for path, shows in part.pictures.items():
        yield f"![{shows}]({path.name})"


def _rows(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head)] if any(head) else [[" "] * len(head), ["---"] * len(head)]
    shown = [*lines, *([_plain(str(value)) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)


def _plain(text: str) -> str:
    """Text whose every character is shown as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _html(part: Part) -> Iterator[Html]:
    if part.text:
        yield tag("p", part.text)
    if part.facts:
        yield facts(part.facts)
    if part.rows:
        yield table(part.head, part.rows, sortable=part.title == "By class")
    if part.points:
        yield tag("ul", *(tag("li", point) for point in part.points))
    if part.code:
        yield code(part.code)
    if part.pictures:
        shown = (picture(path.read_bytes(), alt=text, caption=text) for path, text in part.pictures.items())
        yield grid(shown)
