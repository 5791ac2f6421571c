"""Parallel coordinates: a line a trial through what was tried, to what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnray.runners.report.chart import figure, label, svg
from nnray.runners.report.markup import Html, escape, tag
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.plots.parallel import Column, columns_of
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.words import number, words

_SIDE, _TOP, _TALL = 70.0, 34.0, 230.0
_WIDE, _LEAST = 900.0, 130.0
"""Of the picture, where columns are few; and the least distance between two."""
_GOOD = 0.25
"""Share of the trials that are drawn strong."""


def side_by_side(picture: Picture) -> Html:
    """The figure; the better a trial, the stronger its line."""
    columns = columns_of(picture)
    apart = max(_LEAST, (_WIDE - 2 * _SIDE) / max(1, len(columns) - 1))
    places = [_SIDE + at * apart for at in range(len(columns))]
    ranked = picture.ranked
    order = reversed([*enumerate(ranked)])
    drawn = [_line(trial, columns, places, _strength(place, len(ranked))) for place, trial in order]
    drawn += [part for x, column in zip(places, columns, strict=True) for part in _axis(x, column, ranked)]
    title = "Parallel coordinates: the best trial is the thick line, the best quarter is strong"
    made = svg(drawn, title, width=places[-1] + _SIDE, height=_TOP + _TALL + _below(columns, ranked))
    scrolls = tag("div", made, class_="wide", tabindex="0", role="region", aria_label=title)
    return tag("div", figure(title, scrolls), class_="across")


def _strength(place: int, count: int) -> str:
    if place == 0:
        return "c1 best"
    return "c0 good" if place < max(2, count * _GOOD) else "c7 thin"


def _height(share: float) -> float:
    return _TOP + _TALL * (1 - share)


def _axis(x: float, column: Column, trials: Sequence[Trial]) -> Iterator[Html]:
    yield Html(f'<path class="a" d="M{x:g} {_TOP:g}V{_TOP + _TALL:g}"/>')
    yield label(column.title, x=x, y=_TOP - 14)
    for share, text in column.labels(trials):
        yield label(text, x=x - 5, y=_height(share) + 4, anchor="end")


def _below(columns: Sequence[Column], trials: Sequence[Trial]) -> float:
    """Room for lines that pass below a parameter that their trial does not have."""
    return 45.0 if any(column.height(trial) < 0 for column in columns for trial in trials) else 12.0


def _line(trial: Trial, columns: Sequence[Column], places: Sequence[float], style: str) -> Html:
    heights = (_height(column.height(trial)) for column in columns)
    points = (f"{x:g} {y:.1f}" for x, y in zip(places, heights, strict=True))
    says = escape(f"trial {trial.number}: {number(trial.value)}; {words(trial.params)}")
    return Html(f'<path class="l {style}" d="M{"L".join(points)}"><title>{says}</title></path>')
