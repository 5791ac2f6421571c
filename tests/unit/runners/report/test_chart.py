"""Charts as SVG: nothing that isn't finite, and nothing that isn't there."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.runners.report.chart import HEIGHT, WIDTH, Line, line_chart
from nnray.runners.report.dots import Dot, bar_chart, dot_chart
from nnray.runners.report.markup import Html

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30)


def paths(figure: Html, kind: str) -> list[str]:
    """The ways of paths of a class."""
    tree = ElementTree.fromstring(f"<x>{figure}</x>")
    return [p.attrib["d"] for p in tree.iter("path") if kind in p.attrib.get("class", "").split()]


@given(VALUES, st.booleans())
def test_a_chart_is_sound_whatever_a_metric_does(values: list[float], log: bool) -> None:
    figure = line_chart([Line("a", range(len(values)), values)], title="t", log_y=log)
    assert not re.search(r"[\s\"L](nan|inf)", figure.split("<title>")[0].replace("aria-label", ""))
    for way in paths(figure, "l"):
        points = [tuple(map(float, p.split())) for p in re.split("[ML]", way) if p]
        assert all(-1 <= x <= WIDTH + 1 and -1 <= y <= HEIGHT + 1 for x, y in points)


def test_a_line_is_broken_where_it_has_no_value() -> None:
    figure = line_chart([Line("a", range(5), [1.0, 2.0, math.nan, 3.0, 4.0])], title="t")
    assert len(paths(figure, "l")) == 2


def test_a_dot_says_its_value() -> None:
    figure = line_chart([Line("val_loss", [1], [0.25])], title="t")
    assert "<title>val_loss: 0.2500 at 1</title>" in figure


def test_logarithmic_charts_leave_out_what_has_no_logarithm() -> None:
    figure = line_chart([Line("a", range(4), [1.0, 0.0, 10.0, 100.0])], title="t", log_y=True)
    assert len(paths(figure, "l")) == 2


def test_long_lines_are_thinned_and_keep_their_peaks() -> None:
    values = [0.0] * 20_000
    values[12_345] = 9.0
    figure = line_chart([Line("a", range(20_000), values)], title="t")
    (way,) = paths(figure, "l")
    heights = {point.split()[1] for point in re.split("[ML]", way) if point}
    assert len(way) < 20_000
    assert len(heights) == 2


def test_marks_bands_and_legends_are_drawn() -> None:
    lines = [Line("a", [1, 2], [1.0, 2.0], band=([0.0, 1.0], [2.0, 3.0])), Line("b", [1, 2], [2.0, 1.0])]
    figure = line_chart(lines, title="t", marks={"model": 2.0})
    assert len(paths(figure, "mark")) == len(paths(figure, "band")) == 1
    assert "model" in figure
    assert '<ul class="legend">' in figure


def test_only_leading_lines_are_strong() -> None:
    lines = [Line(f"trial {i}", [1, 2], [i, i + 1.0]) for i in range(12)]
    figure = line_chart(lines, title="t", leading=1)
    assert len(paths(figure, "thin")) == 11
    assert "legend" not in figure


@given(VALUES)
def test_dots_are_sound_whatever_a_metric_does(values: list[float]) -> None:
    dots = [Dot(float(i), value, "x") for i, value in enumerate(values)]
    figure = dot_chart({"a": dots, "b": []}, title="t", steps=[(d.x, d.y) for d in dots])
    ElementTree.fromstring(f"<x>{figure}</x>")
    assert len(paths(figure, "p")) - 2 == sum(-1e100 < value < 1e100 for value in values)
    assert not any("nan" in way or "inf" in way for way in paths(figure, "p") + paths(figure, "l"))


def test_groups_are_told_apart_by_shape() -> None:
    figure = dot_chart({"a": [Dot(0, 0, "")], "b": [Dot(0, 0, "")]}, title="t")
    first, second = paths(figure, "p")[:2]
    assert first != second


def test_bars_are_as_long_as_their_shares() -> None:
    figure = bar_chart({"lr": 0.6, "dropout": 0.3}, title="t")
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', figure)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-2)
    assert "60%" in figure


def test_hostile_names_are_text() -> None:
    name = "<script>x</script>"
    made = line_chart(
        [Line(name, [1], [1.0]), Line("b", [1], [1.0])], title=name, x_label=name, marks={name: 1.0}
    )
    assert "<script" not in made + dot_chart({name: [Dot(0, 0, name)], "b": []}, title=name) + bar_chart(
        {name: 1.0}, title=name
    )
