"""The frame of a self-contained page: nothing is loaded from elsewhere, and no script but ours runs.

The content security policy names our one script by its hash, so that markup which slipped through ``escape``
could still neither run nor fetch anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from nnray import __version__
from nnray.runners.report.markup import Html, escape, join, tag
from nnray.runners.report.script import SCRIPT
from nnray.runners.report.style import STYLE

_FRAME = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="nnray {version}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<footer>Written by nnray {version}.</footer>
<script>{script}</script>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Args:
        title: Its heading, and its entry in the page's list of contents.
        body: Markup.
    """

    title: str
    body: Html


def page(title: str, sections: Sequence[Section], *, lead: Html | str = "") -> str:
    """A whole page, for any browser, light and dark, narrow and wide, screen and paper.

    Args:
        title: Heading and name of the window.
        sections: In their order.
        lead: What stands above them.
    """
    contents = tag("nav", tag("ul", *map(_entry, sections)), aria_label="Contents")
    body = join((tag("h1", title), lead, contents if len(sections) > 1 else "", *map(_section, sections)))
    return _FRAME.format(
        policy=_policy(), version=__version__, title=escape(title), style=STYLE, body=body, script=SCRIPT
    )


def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _key(section: Section) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in section.title.lower())


def _entry(section: Section) -> Html:
    return tag("li", tag("a", section.title, href=f"#{_key(section)}"))


def _section(section: Section) -> Html:
    return tag("section", tag("h2", section.title), section.body, id=_key(section))
