"""Whatever stands in a run, its page shows it as text."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.runners.report.markup import (
    Html,
    code,
    escape,
    facts,
    fold,
    join,
    notice,
    number,
    picture,
    plain,
    table,
    tag,
    text,
)

HOSTILE = "</td><script>document.title='owned'</script>\" onload=\"x"


class Read(HTMLParser):
    """What a browser makes of markup: its tags, their attributes, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text(min_size=1))
def test_text_comes_back_from_markup_and_makes_no_tag(given_text: str) -> None:
    read = Read(tag("p", given_text))
    assert read.tags == ["p"]
    shown = "".join(read.texts)
    assert len(shown) == len(given_text)
    assert all(a == b or b == "\ufffd" for a, b in zip(given_text, shown, strict=True))


@given(st.text())
def test_text_stays_within_an_attribute(given_text: str) -> None:
    read = Read(tag("a", "x", title=given_text, class_=None))
    (pair,) = read.attributes
    assert pair[0] == "title"
    assert len(pair[1] or "") == len(given_text)


@pytest.mark.parametrize(
    "made",
    [
        table([HOSTILE], [[HOSTILE]], caption=HOSTILE),
        table([HOSTILE], [[(1.0, HOSTILE)]], sortable=True),
        facts({HOSTILE: HOSTILE}),
        notice(HOSTILE),
        code(HOSTILE),
        fold(HOSTILE, HOSTILE),
        join([HOSTILE]),
        picture(b"\x89PNG", alt=HOSTILE, caption=HOSTILE),
    ],
)
def test_nothing_that_makes_markup_lets_a_script_through(made: Html) -> None:
    read = Read(made)
    assert "script" not in read.tags
    assert not any(name.startswith("on") for name, _ in read.attributes)
    assert HOSTILE in "".join(read.texts) + "".join(value or "" for _, value in read.attributes)


def test_markup_is_not_escaped_twice() -> None:
    assert escape(escape("a < b")) == "a &lt; b"
    assert tag("p", tag("b", "&")) == "<p><b>&amp;</b></p>"


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\u202e", "\u2066", "\ud800"])
def test_characters_that_would_break_or_turn_the_text_are_replaced(character: str) -> None:
    assert escape(f"a{character}b") == "a\ufffdb"
    assert escape(f"a{character}b").encode()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98765, "0.9877"),
        (3, "3"),
        (12345678, "12345678"),
        (1e-7, "1e-07"),
        (1234.5, "1234" if f"{1234.5:.4g}" == "1234" else "1235"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (None, "-"),
        (True, "yes"),
        ("x", "x"),
    ],
)
def test_values_are_short(value: object, shown: str) -> None:
    assert text(value) == shown
    if isinstance(value, float):
        assert number(value) == shown


def test_numbers_stand_to_the_right_and_are_sorted_by_their_value() -> None:
    made = table(["a", "b"], [[0.5, "x"], [(90.0, "1 min"), None]])
    assert '<td class="n" data-v="0.5">0.5000</td><td>x</td>' in made
    assert '<td class="n" data-v="90.0">1 min</td><td>-</td>' in made


def test_columns_are_sorted_by_buttons_that_keys_reach() -> None:
    made = table(["loss"], [[1.0]], sortable=True)
    assert '<table class="sortable">' in made
    assert '<th scope="col"><button type="button">loss</button></th>' in made
    assert "<button" not in table(["loss"], [[1.0]])


def test_settings_stand_on_one_line() -> None:
    assert (
        plain({"name": "adam", "betas": (0.9, 0.999), "on": True})
        == "name: adam, betas: 0.9000, 0.9990, on: yes"
    )
