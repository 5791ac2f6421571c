"""The HTML page: what is on it, that it opens without a network, and whose numbers it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from nnray.runners.sweep.figures import history, lineage, parallel
from nnray.runners.sweep.findings import COMPLETE
from nnray.runners.sweep.lineage import copies
from nnray.runners.sweep.optuna_figures import OptunaFigures
from nnray.runners.sweep.page import write_page
from nnray.runners.sweep.plots import Picture
from tests.unit.sweep.gallery import SPACE, Shown, ledger_of, population, shown, trial

pytestmark = pytest.mark.filterwarnings(
    "ignore::optuna.exceptions.ExperimentalWarning", "ignore:PedAnovaImportanceEvaluator computes"
)
ONE, TWO = shown(), shown(objectives=("parameters",), limit=60_000)


@dataclass
class Told:
    """The study of a sweep, as the page asks it."""

    sweep: Shown

    @property
    def inner(self) -> optuna.Study:
        return self.sweep.study

    def with_pruned(self) -> optuna.Study:
        """By the metric alone."""
        whole = self.sweep.study
        found = optuna.create_study(direction=whole.directions[0], study_name=whole.study_name)
        for told in whole.get_trials(deepcopy=False):
            values = {"value": told.values[0], "params": told.params, "distributions": told.distributions}
            found.add_trial(optuna.trial.create_trial(**values, constraints=told.constraints))
        return found


def page_of(sweep: Shown, folder: Path) -> str:
    path = write_page(folder / "plots.html", sweep.picture, study=Told(sweep))  # type: ignore[arg-type]
    assert path is not None
    return path.read_text()


def headings(page: str) -> list[str]:
    return [part.partition("</h2>")[0] for part in page.split("<h2>")[1:]]


@pytest.mark.parametrize(
    ("make", "expected", "figures"),
    [
        (shown, ["val_accuracy"], 6),
        (
            lambda: shown(objectives=("parameters", "latency_ms")),
            ["val_accuracy", "Pareto front", "parameters", "latency_ms"],
            6 + 2 + 4 + 4,
        ),
        (population, ["val_accuracy", "Lineage"], 6),
        (lambda: shown(trials=1), ["val_accuracy"], 3),
    ],
    ids=["one objective", "three", "population", "one trial"],
)
def test_the_page_has_a_section_an_objective(
    make: Callable[[], Shown], expected: list[str], figures: int, tmp_path: Path
) -> None:
    page = page_of(make(), tmp_path)
    assert headings(page) == expected
    assert page.count('class="plotly-graph-div"') == figures
    assert page.endswith("</body></html>")


def test_the_page_needs_no_network_and_brings_the_library_once(tmp_path: Path) -> None:
    page = page_of(TWO, tmp_path)
    assert "<script src=" not in page
    assert page.count("plotly.js v") == 1


def test_no_page_of_a_sweep_that_came_to_nothing(tmp_path: Path) -> None:
    nothing = Shown(ONE.goal, ledger_of(trial(0, 0.5, state="failed")), SPACE)
    assert write_page(tmp_path / "plots.html", nothing.picture, study=Told(nothing)) is None  # type: ignore[arg-type]
    assert not (tmp_path / "plots.html").exists()


def test_the_name_of_a_sweep_is_text(tmp_path: Path) -> None:
    class Named(Told):
        @property
        def inner(self) -> optuna.Study:
            return optuna.create_study(study_name="<script>alert(1)</script>")

    path = write_page(tmp_path / "plots.html", ONE.picture, study=Named(ONE))  # type: ignore[arg-type]
    assert path is not None
    assert "<script>alert" not in path.read_text()


def test_the_history_has_our_numbers_failed_trials_among_them() -> None:
    figure = history(TWO.picture)
    numbers = [number for trace in figure.data[:-1] for number in trace.x]
    assert sorted(numbers) == sorted(TWO.ledger.trials)
    assert {trace.name.split()[0] for trace in figure.data} == {
        "finished", "pruned", "failed", "infeasible", "best",
    }  # fmt: skip
    assert figure.data[0].hovertext[0].startswith("trial 0: ")


def test_side_by_side_are_also_trials_that_lack_a_parameter() -> None:
    (lines,) = parallel(ONE.picture).data
    assert {len(column.values) for column in lines.dimensions} == {len(ONE.picture.valued)}
    momentum = lines.dimensions[2]
    assert momentum.label == "momentum"
    assert momentum.ticktext[-1] == "absent"
    lacking = sum("optimizer.momentum" not in t.params for t in ONE.picture.valued)
    assert sum(value < 0 for value in momentum.values) == lacking > 0


def test_the_lineage_has_an_arrow_a_copy() -> None:
    whole = population()
    figure = lineage(whole.picture)
    arrows = figure.layout.annotations
    assert [(int(a.ay), int(a.y)) for a in arrows] == [
        (source.trial, taker) for taker, source in copies(whole.ledger)
    ]
    assert "lr=" in figure.data[0].hovertext[1]


def figures_of(sweep: Shown, place: int | None = None) -> OptunaFigures:
    name = sweep.goal.metric if place is None else list(sweep.goal.objectives)[place - 1]
    study = Told(sweep).with_pruned() if place is None else sweep.study
    return OptunaFigures(study, sweep.picture, name, place)


def ticks(axis: Any) -> list[str]:
    return list(axis.ticktext or ())


def test_slices_are_cut_into_rows_and_lie_over_the_whole_range() -> None:
    figures = figures_of(ONE)
    assert figures.rows == [list(SPACE)[:3], list(SPACE)[3:]]
    figure = figures.slices(["optimizer.lr"])
    assert ticks(figure.layout.xaxis) == ["0.0001", "0.00316", "0.1"]
    assert figure.layout.xaxis.range[0] == pytest.approx(-4.15)


def test_the_target_of_an_objective_is_its_own_value() -> None:
    figure = figures_of(TWO, 1).slices(["model.dropout"])
    shown_values = {value for trace in figure.data for value in trace.y}
    complete = TWO.study.get_trials(deepcopy=False, states=COMPLETE)
    assert shown_values == {told.values[1] for told in complete}
    assert figure.layout.yaxis.title.text == "parameters"


def test_what_makes_a_network_small_is_important_for_its_size() -> None:
    bars = figures_of(TWO, 1).importances().data[0]
    shares = dict(zip(bars.y, bars.x, strict=True))
    assert max(shares, key=shares.__getitem__) in ("model.hidden", "training.batch_size")


def test_ranks_have_short_names_and_the_ticks_of_each_parameter() -> None:
    figure = figures_of(ONE).rank()
    titles = {axis.title.text for axis in figure.select_xaxes()} - {None}
    assert titles == {"optimizer", "lr", "momentum", "hidden"}
    lr = next(axis for axis in figure.select_xaxes() if axis.title.text == "lr")
    assert ticks(lr) == ["0.0001", "0.00316", "0.1"]
    by_y = next(axis for axis in figure.select_yaxes() if axis.title.text == "momentum")
    assert ticks(by_y) == ["0", "0.495", "0.99"]


def test_two_parameters_make_one_pair() -> None:
    space = {path: SPACE[path] for path in ("optimizer.lr", "model.dropout")}
    picture = Picture(space, ONE.goal, ONE.ledger)
    figure = OptunaFigures(Told(ONE).with_pruned(), picture, "val_accuracy").rank()
    assert ticks(figure.layout.xaxis) == ["0.0001", "0.00316", "0.1"]
    assert ticks(figure.layout.yaxis) == ["0", "0.3", "0.6"]
    one = replace(picture, space={"optimizer.lr": SPACE["optimizer.lr"]})
    with pytest.raises(ValueError, match="no pair"):
        OptunaFigures(Told(ONE).with_pruned(), one, "val_accuracy").rank()


def test_the_front_is_against_the_metric() -> None:
    figure = figures_of(TWO, 1).front()
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("parameters", "val_accuracy")
    assert figure.layout.xaxis.type == "log"
