"""HTML from values: whatever is not ``Html`` already is text, and is escaped."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
"""No page may hold them, or they would turn the text around them."""


class Html(str):
    """Markup, as against text: only what nnray wrote itself."""

    __slots__ = ()


def escape(value: object) -> Html:
    """A value as it may stand between tags and in quoted attributes.

    Args:
        value: Markup stays as it is, numbers are shortened, None is a dash.
    """
    return value if isinstance(value, Html) else Html(html.escape(_UNPRINTABLE.sub("\ufffd", text(value))))


def text(value: object) -> str:
    """A value for people."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else str(value)


def number(value: float) -> str:
    """A number for people: whole ones in full, others to four digits that count."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if 0.1 <= abs(value) < 10 else f"{value:.4g}"


def join(parts: Iterable[object]) -> Html:
    """Parts after one another, each escaped."""
    return Html("\n".join(escape(part) for part in parts))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """An element around its content.

    Args:
        name: Of the tag.
        content: Escaped unless it is markup.
        attributes: ``class_`` is ``class``, ``data_x`` is ``data-x``; None and False leave one out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{name}{written}>{''.join(map(escape, content))}</{name}>")


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    return f' {key.rstrip("_").replace("_", "-")}="{"" if value is True else escape(value)}"'


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str = "", sortable: bool = False
) -> Html:
    """A table that scrolls sideways where the window is narrow.

    Args:
        head: Names of the columns.
        rows: Values; numbers stand to the right, a pair of a number and its text as that text.
        caption: What it shows; also what a screen reader says.
        sortable: By a click, or Enter, on a column's name.
    """
    names = [tag("button", name, type="button") if sortable else name for name in head]
    top = tag("tr", *(tag("th", name, scope="col") for name in names))
    body = join(tag("tr", *map(_cell, row)) for row in rows)
    title = tag("caption", caption) if caption else ""
    made = tag("table", title, tag("thead", top), tag("tbody", body), class_="sortable" if sortable else None)
    return tag("div", made, class_="wide", tabindex="0", role="region", aria_label=caption or "table")


def _cell(value: object) -> Html:
    shown = value
    if isinstance(value, tuple):
        value, shown = value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return tag("td", shown)
    return tag("td", shown, class_="n", data_v=repr(float(value)))


def facts(rows: Mapping[str, object]) -> Html:
    """Names and values in two columns."""
    pairs = (join((tag("dt", name), tag("dd", value))) for name, value in rows.items())
    return tag("dl", *pairs)


def notice(content: object, *, bad: bool = False) -> Html:
    """Something that a reader must not miss."""
    return tag("p", content, class_="notice bad" if bad else "notice", role="note")


def code(content: str) -> Html:
    """Text as it is typed, in lines."""
    return tag("pre", tag("code", content), tabindex="0")


def fold(summary: object, *content: object) -> Html:
    """What is shown only when asked for; on paper always."""
    return tag("details", tag("summary", summary), *content)


def grid(parts: Iterable[object]) -> Html:
    """Pictures side by side where there is room."""
    return tag("div", join(parts), class_="grid")


def picture(data: bytes, *, alt: str, caption: str = "") -> Html:
    """A PNG or JPEG inside the page.

    Args:
        data: The file's bytes.
        alt: What is to be seen on it.
        caption: Below it.
    """
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    encoded = base64.b64encode(data).decode()
    image = Html(f'<img src="data:image/{kind};base64,{encoded}" alt="{escape(alt)}">')
    return tag("figure", image, tag("figcaption", caption) if caption else "")


def plain(value: Any) -> str:
    """A value of a file of settings, on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(one)}" for key, one in value.items())
    return ", ".join(map(plain, value)) if isinstance(value, list | tuple) else text(value)
