"""The plots of a sweep: what is in their axes, and that nothing runs out of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nnray.config import Range
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.plots import _PLOTS, Picture, write_plots
from nnray.runners.sweep.plots.canvas import scale_of
from nnray.runners.sweep.plots.history import best_so_far, groups, history, importance
from nnray.runners.sweep.plots.parallel import BELOW, MOST, columns_of, parallel
from nnray.runners.sweep.plots.pareto import pareto
from nnray.runners.sweep.plots.scale import Scale
from nnray.runners.sweep.plots.slices import rank, slices
from tests.unit.sweep.gallery import SPACE, Shown, ledger_of, population, shown, trial

ONE, TWO = shown(), shown(objectives=("parameters",), limit=60_000)
THREE, LOSS = shown(objectives=("parameters", "latency_ms")), shown(metric="val_loss")
SWEEPS = {"one": ONE, "two": TWO, "three": THREE, "loss": LOSS, "population": population()}
EMPTY = Picture(SPACE, Goal("val_accuracy", "max"), ledger_of())


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    FigureCanvasAgg(figure).draw()
    return figure


def main_axes(figure: Figure) -> list[Axes]:
    """Without color bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def points(axes: Axes, place: int = 0) -> np.ndarray:
    return np.asarray(axes.collections[place].get_offsets())


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """All that is written in a figure, and where: not the ticks outside of it."""
    found, draw = [], Text.draw

    def note(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        found.append(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", note)
        FigureCanvasAgg(figure).draw()
    return [(text, text.get_window_extent()) for text in found if text.get_text().strip()]


def assert_readable(figure: Figure) -> None:
    """No text is cut, and no two run into each other."""
    found = texts(figure)
    assert found
    for text, box in found:
        assert box.x0 >= -1 and box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
    for place, (text, box) in enumerate(found):
        for other, second in found[place + 1 :]:
            if text.get_rotation() and text.get_rotation() == other.get_rotation():
                continue  # the boxes around slanted texts meet long before the texts do
            across = min(box.x1, second.x1) - max(box.x0, second.x0)
            down = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert across <= 2 or down <= 2, (text.get_text(), other.get_text())


@pytest.mark.parametrize("name", _PLOTS)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_no_text_is_cut_and_no_two_run_into_each_other(sweep: str, name: str) -> None:
    figure = _PLOTS[name](SWEEPS[sweep].picture)
    if figure is not None:
        assert_readable(figure)


def test_large_numbers_can_be_read_on_an_even_scale() -> None:
    trials = [trial(number, number / 10) for number in range(1, 9)]
    for number, member in enumerate(trials, start=1):
        member.objectives = {"parameters": 100_000.0 + 99_000 * number}
    goal = Goal("val_accuracy", "max", {"parameters": "min"})
    figure = pareto(replace(EMPTY, goal=goal, ledger=ledger_of(*trials, objectives=goal.objectives)))
    assert figure is not None
    assert main_axes(figure)[0].get_xscale() == "linear"
    assert_readable(figure)


def test_many_choices_with_long_names_can_be_read() -> None:
    names = [f"a_long_name_of_a_choice_{number}" for number in range(30)]
    space = {"model.activation": Range(choice=names), "model.pooling_layer": Range(choice=names)}
    picks = [
        {"model__activation": name, "model__pooling_layer": names[-place]} for place, name in enumerate(names)
    ]
    trials = [trial(number, number / 30, **picked) for number, picked in enumerate(picks)]
    picture = Picture(space, EMPTY.goal, ledger_of(*trials))
    for draw in (slices, rank, parallel):
        figure = draw(picture)
        assert figure is not None
        assert_readable(figure)


@pytest.mark.parametrize("sweep", ["one", "two", "population"])
def test_every_plot_is_a_picture_with_something_in_it(sweep: str, tmp_path: Path) -> None:
    paths = write_plots(tmp_path / "plots", SWEEPS[sweep].picture)
    always = ["history", "importance", "parallel_coordinates", "slices", "rank"]
    extra = {"two": ["pareto_front"], "population": ["lineage", "lineage_parameters"]}
    assert [path.stem for path in paths] == [*always, *extra.get(sweep, [])]
    for path in paths:
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 0.01


def test_a_sweep_of_one_trial_is_plotted_as_far_as_there_is_something_to_see(tmp_path: Path) -> None:
    only = trial(0, 0.5, optimizer__lr=0.01, model__dropout=0.1)
    paths = write_plots(tmp_path, replace(EMPTY, ledger=ledger_of(only)))
    assert [path.stem for path in paths] == ["history", "slices"]


def test_no_plot_of_a_sweep_that_came_to_nothing(tmp_path: Path) -> None:
    assert write_plots(tmp_path, EMPTY) == []
    hopeless = ledger_of(trial(0, math.nan, state="failed", optimizer__lr=0.1))
    assert write_plots(tmp_path, replace(EMPTY, ledger=hopeless)) == []


# History


def test_the_history_has_every_trial_once_in_the_group_it_belongs_to() -> None:
    found = groups(TWO.picture)
    assert sum(len(trials) for trials, _ in found.values()) == len(TWO.picture.valued)
    assert all(not t.is_feasible for t in found["infeasible"][0])
    assert {t.state for t in found["pruned"][0]} == {"pruned"}
    (axes,) = drawn(history(TWO.picture)).axes
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [*(f"{name} ({len(trials)})" for name, (trials, _) in found.items()), "best so far"]
    assert points(axes).tolist() == [[t.number, t.value] for t in found["finished"][0]]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_best_so_far_ends_at_the_best(sweep: str) -> None:
    picture = SWEEPS[sweep].picture
    numbers, values = best_so_far(picture)
    best = picture.ledger.best
    assert best is not None
    assert values[-1] == best.value
    steps = np.diff(values)
    assert (steps <= 0 if picture.goal.mode == "min" else steps >= 0).all()
    assert numbers == sorted(numbers)


def test_neither_a_failed_nor_an_infeasible_nor_a_cut_short_trial_is_the_best_so_far() -> None:
    bad = trial(0, 0.99, state="failed"), trial(1, 0.98, state="pruned"), trial(2, 0.97)
    bad[2].violations = {"parameters <= 1": 5.0}
    ledger = ledger_of(*bad, trial(3, 0.5))
    assert best_so_far(replace(EMPTY, ledger=ledger)) == ([3], [0.5])


def test_a_loss_that_explodes_does_not_hide_the_others() -> None:
    (axes,) = drawn(history(LOSS.picture)).axes
    assert axes.get_yscale() == "log"
    (axes,) = drawn(history(ONE.picture)).axes
    assert axes.get_yscale() == "linear"
    assert scale_of([0.0, 1e9]) == "linear"
    assert scale_of([]) == "linear"


def test_importance_has_the_largest_on_top() -> None:
    (axes,) = drawn(importance(ONE.picture)).axes
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == sorted(widths)
    assert [text.get_text() for text in axes.texts] == [f"{width:.0%}" for width in widths]
    assert axes.get_yticklabels()[-1].get_text() == "optimizer"


# Parallel coordinates


def test_parallel_coordinates_have_a_line_a_trial_the_best_on_top() -> None:
    (axes,) = drawn(parallel(TWO.picture)).axes
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]  # type: ignore[arg-type]
    ranked = TWO.picture.ranked
    assert len(lines) == len(ranked)
    columns = columns_of(TWO.picture)
    for line, shown_trial in zip(lines, reversed(ranked), strict=True):
        assert list(line.get_ydata()) == [column.height(shown_trial) for column in columns]  # type: ignore[arg-type]
    assert [column.title for column in columns] == [*TWO.picture.names.values(), "parameters", "val_accuracy"]


def test_a_line_passes_below_what_its_trial_lacks_and_the_column_says_so() -> None:
    (momentum,) = (column for column in columns_of(ONE.picture) if column.title == "momentum")
    for found in ONE.picture.valued:
        lacks = "optimizer.momentum" not in found.params
        assert (momentum.height(found) == BELOW) == lacks
        assert lacks or 0 <= momentum.height(found) <= 1
    assert [text for _, text in momentum.labels(ONE.picture.valued)] == ["0", "0.495", "0.99", "absent"]
    (lr,) = (column for column in columns_of(ONE.picture) if column.title == "lr")
    assert "absent" not in [text for _, text in lr.labels(ONE.picture.valued)]


def test_a_wide_space_shows_the_most_important_in_the_order_of_the_space() -> None:
    space = {f"model.p{place}": Range(uniform=(0.0, 1.0)) for place in range(40)}
    ledger = ledger_of(*(trial(n, n / 3, **{f"model__p{i}": n / 3 for i in range(40)}) for n in range(3)))
    picture = Picture(space, EMPTY.goal, ledger, {"model.p30": 0.6, "model.p5": 0.4})
    titles = [column.title for column in columns_of(picture)]
    assert len(titles) == MOST + 1
    assert [title for title in titles if title in ("p5", "p30")] == ["p5", "p30"]
    (axes,) = drawn(parallel(picture)).axes
    assert f"the {MOST} most important" in axes.get_title()


def test_equal_values_have_a_column_too() -> None:
    ledger = ledger_of(trial(0, 0.5, optimizer__lr=0.01), trial(1, 0.5, optimizer__lr=0.02))
    (axes,) = drawn(parallel(replace(EMPTY, ledger=ledger))).axes
    assert "0.5" in [text.get_text() for text in axes.texts]


# Slices and ranks


def test_a_slice_has_the_trials_that_have_its_parameter() -> None:
    figure = drawn(slices(ONE.picture))
    for axes, path in zip(main_axes(figure), SPACE, strict=True):
        having = [t for t in ONE.picture.valued if path in t.params]
        assert axes.get_xlabel() == ONE.picture.names[path]
        assert points(axes)[:, 1].tolist() == [t.value for t in having]
        if SPACE[path].choice is None:
            assert points(axes)[:, 0].tolist() == [t.params[path] for t in having]
    momentum = main_axes(figure)[2]
    assert len(points(momentum)) < len(ONE.picture.valued)


def test_a_parameter_that_no_trial_has_gets_no_slice() -> None:
    ledger = ledger_of(*(trial(n, n / 4, optimizer__lr=0.01, model__dropout=0.1) for n in range(4)))
    figure = drawn(slices(replace(EMPTY, ledger=ledger)))
    assert [axes.get_xlabel() for axes in main_axes(figure)] == ["lr", "dropout"]


def test_the_star_is_the_best_trial_wherever_it_has_the_parameters() -> None:
    best = ONE.ledger.best
    assert best is not None and "optimizer.momentum" not in best.params
    stars = {axes.get_xlabel(): len(axes.collections) for axes in main_axes(drawn(slices(ONE.picture)))}
    assert stars == {"optimizer": 2, "lr": 2, "momentum": 1, "hidden": 2, "dropout": 2, "batch_size": 2}
    lr = main_axes(drawn(slices(ONE.picture)))[1]
    assert points(lr, 1).tolist() == [[best.params["optimizer.lr"], best.value]]


def test_rank_has_each_pair_of_the_leading_parameters() -> None:
    picture = TWO.picture
    figure = drawn(rank(picture))
    pairs = [(axes.get_xlabel(), axes.get_ylabel()) for axes in main_axes(figure)]
    assert pairs == [
        ("optimizer", "lr"), ("optimizer", "momentum"), ("optimizer", "hidden"),
        ("lr", "momentum"), ("lr", "hidden"), ("momentum", "hidden"),
    ]  # fmt: skip
    both = [t for t in reversed(picture.ranked) if "optimizer.momentum" in t.params]
    axes = main_axes(figure)[3]
    assert points(axes).tolist() == [[t.params["optimizer.lr"], t.params["optimizer.momentum"]] for t in both]
    places = {t.number: place for place, t in enumerate(picture.ranked, start=1)}
    assert list(axes.collections[0].get_array()) == [places[t.number] for t in both]  # type: ignore[arg-type]


def test_one_parameter_makes_no_rank() -> None:
    space = {"optimizer.lr": SPACE["optimizer.lr"]}
    assert rank(replace(EMPTY, space=space, ledger=ONE.ledger)) is None


# The Pareto front


def test_the_front_is_in_its_color_and_the_stairs_go_through_it() -> None:
    (axes,) = main_axes(drawn(pareto(TWO.picture)))
    front = TWO.ledger.front
    by_label = {str(dots.get_label()): np.asarray(dots.get_offsets()).tolist() for dots in axes.collections}
    assert by_label[f"front ({len(front)})"] == [[t.objectives["parameters"], t.value] for t in front]
    counted = sum(len(dots) for label, dots in by_label.items() if label != "best metric")
    assert counted == len(TWO.picture.valued)
    (stairs,) = axes.lines
    assert list(stairs.get_xdata()) == sorted(t.objectives["parameters"] for t in front)  # type: ignore[arg-type]


def test_every_objective_has_its_own_plot_against_the_metric() -> None:
    cells = main_axes(drawn(pareto(THREE.picture)))
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in cells] == [
        ("parameters", "val_accuracy"),
        ("latency_ms", "val_accuracy"),
    ]
    assert [axes.lines[:] for axes in cells] == [[], []]


def test_a_number_of_parameters_is_written_out() -> None:
    (axes,) = main_axes(drawn(pareto(TWO.picture)))
    assert axes.get_xscale() == "log"
    shown_ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert "10000" in shown_ticks


def test_no_front_without_objectives_or_without_a_feasible_trial() -> None:
    assert pareto(ONE.picture) is None
    assert pareto(shown(objectives=("parameters",), limit=1).picture) is None


# Scales


@pytest.mark.parametrize("given", [
    {"uniform": [0.0, 2.0]}, {"loguniform": [1e-4, 1e-1]}, {"int": [1, 9]}, {"logint": [16, 256]},
    {"choice": [1, "a", None]},
])  # fmt: skip
def test_the_ends_of_a_range_are_0_and_1(given: dict[str, object]) -> None:
    range_ = Range.model_validate(given)
    first, last = range_.samples[0], range_.samples[-1]
    assert Scale(range_).share(first) == pytest.approx(0, abs=1e-12)
    assert Scale(range_).share(last) == pytest.approx(1)
    shares = [Scale(range_).share_at(place) for place, _ in Scale(range_).ticks]
    assert shares[0] == pytest.approx(0, abs=1e-12)
    assert shares[-1] == pytest.approx(1)


def test_halfway_is_meant_as_the_range_is_searched() -> None:
    assert Scale(Range(loguniform=(1e-4, 1e-2))).share(1e-3) == pytest.approx(0.5)
    assert [text for _, text in Scale(Range(logint=(16, 256))).ticks] == ["16", "64", "256"]
    assert [text for _, text in Scale(Range.model_validate({"int": [1, 50000]})).ticks] == [
        "1",
        "25000",
        "50000",
    ]


def test_equal_choices_lie_side_by_side_and_none_in_anothers_place() -> None:
    scale = Scale(Range(choice=["a", "b"]))
    places = [scale.scattered("b", turn) for turn in range(50)]
    assert len(set(places)) == 50
    assert all(0.74 < place < 1.26 for place in places)
    assert Scale(Range(uniform=(0.0, 1.0))).scattered(0.25, 7) == 0.25


def test_many_choices_have_few_ticks() -> None:
    ticks = Scale(Range(choice=[f"a very long name of choice {n}" for n in range(100)])).ticks
    assert len(ticks) <= 6
    assert all(len(text) <= 12 for _, text in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


def test_states_that_have_not_ended_are_not_shown() -> None:
    ledger = ledger_of(trial(0, 0.5, state="running"), trial(1, 0.4), trial(2, math.inf))
    sweep = Shown(EMPTY.goal, ledger, SPACE)
    assert [t.number for t in sweep.picture.valued] == [1]
    assert [t.number for t in sweep.picture.ranked] == [1]
