"""Curves of a run: those that belong together in one chart, and all others one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from nnray.runners.report.account import Account, Point
from nnray.runners.report.chart import Line, line_chart
from nnray.runners.report.markup import Html, fold, grid, join, tag
from nnray.runners.report.page import Section

_SPLIT = r"(train|val|test|client)_"
_TOGETHER: Mapping[str, str] = {
    "Loss": _SPLIT + r"loss",
    "Accuracy": _SPLIT + r"accuracy(_global)?",
    "Clients, each counted once": r"client_(accuracy|loss)_(mean|worst10)",
    "Learning rate": r"lr",
    "F1, precision and recall (macro)": r"val_(f1|precision|recall)_macro",
    "Area under the ROC curve": _SPLIT + r"auroc.*",
    "Privacy spent (epsilon)": r"epsilon",
}
_SUMMED = {"bytes_up": "from clients", "bytes_down": "to clients"}
_PER_CLASS = re.compile(r"_class_\d+$")
_MOST = 24
"""Other measurements that are drawn; a page with hundreds helps nobody."""
_FAR = 50.0
"""How many times as large as the least the largest loss is where a logarithmic scale shows more."""


def curves(account: Account) -> Iterator[Section]:
    """The section of curves; none where no epoch or round has ended."""
    shown = {n: p for n, p in account.history.items() if not _PER_CLASS.search(n) and _is_course(n, account)}
    if not shown:
        return
    marks = _marks(account)
    charts, used = list[Html](), set[str]()
    for title, pattern in _TOGETHER.items():
        names = [name for name in shown if re.fullmatch(pattern, name)]
        if names:
            used |= set(names)
            charts.append(_chart(title, {n: shown[n] for n in names}, account.period, marks))
    charts += _traffic(account, shown)
    others = [name for name in shown if name not in used and name not in _SUMMED][:_MOST]
    rest = [_chart(name, {name: shown[name]}, account.period, {}) for name in others]
    more = fold(f"{len(rest)} more measurements", grid(rest)) if rest else Html("")
    yield Section("Curves", join((grid(charts), more)))


def _is_course(name: str, account: Account) -> bool:
    return account.verb == "federate" or not name.startswith("test_")


def _chart(
    title: str, points: Mapping[str, Sequence[Point]], period: str, marks: Mapping[str, float]
) -> Html:
    lines = [Line(name, [step for step, _ in p], [value for _, value in p]) for name, p in points.items()]
    values = [v for line in lines for v in line.y]
    is_far = title == "Loss" and min(values) > 0 and max(values) / min(values) > _FAR
    return line_chart(lines, title=title, x_label=period, log_y=is_far, marks=marks)


def _marks(account: Account) -> Mapping[str, float]:
    """The epoch whose weights the model has, and the round that reached the target."""
    found: dict[str, float] = {}
    if account.verb != "federate" and account.result.get("epoch"):
        found["model"] = float(account.result["epoch"])
    if reached := account.metrics.get("rounds_to_target"):
        found["target"] = float(reached)
    return found


def _traffic(account: Account, shown: Mapping[str, Sequence[Point]]) -> list[Html]:
    lines = []
    for name, says in _SUMMED.items():
        if points := shown.get(name):
            summed = accumulate(value / 1e6 for _, value in points)
            lines.append(Line(says, [step for step, _ in points], list(summed)))
    if not lines:
        return []
    return [line_chart(lines, title="Sent up to each round (MB)", x_label=account.period)]


def subheading(text: str) -> Html:
    """A heading within a section."""
    return tag("h3", text)
