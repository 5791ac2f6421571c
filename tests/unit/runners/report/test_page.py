"""The frame of a page: self-contained, and its policy says so."""

from __future__ import annotations

import base64
import hashlib
import re

from nnray.runners.report.markup import Html, tag
from nnray.runners.report.page import Section, page


def made(title: str = "A run") -> str:
    return page(title, [Section("First part", tag("p", "x")), Section("Second", Html("y"))], lead="a & b")


def test_the_policy_allows_the_one_script_and_nothing_from_elsewhere() -> None:
    html = made()
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy
    assert "img-src data:;" in policy
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)


def test_the_policy_stands_before_all_that_it_is_about() -> None:
    html = made()
    assert html.index("Content-Security-Policy") < html.index("<style>") < html.index("<script>")


def test_contents_lead_to_sections() -> None:
    html = made()
    assert re.findall(r'<a href="#([^"]*)"', html) == re.findall(r'<section id="([^"]*)"', html)
    assert "<nav" not in page("t", [Section("One", Html("x"))])


def test_titles_and_leads_are_text() -> None:
    html = made("</title><script>x</script>")
    assert html.count("<script>") == 1
    assert "a &amp; b" in html


def test_braces_in_a_run_are_left_alone() -> None:
    assert "{title}" in page("{title}", [Section("x", tag("p", "{body} {0}"))])


def test_it_is_made_for_dark_and_for_paper() -> None:
    html = made()
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert 'name="viewport"' in html
