"""Comparing federated runs: what is read, what is told, and that the pictures show it."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nnray.errors import RunError
from nnray.runners.federated import plots
from nnray.runners.federated.compare import COLUMNS, Comparison, compare, labels_of
from nnray.runners.federated.curves import Curve, read_curve, read_rounds
from tests.unit.runners.federated_runs import course, write_run


def data(line: Line2D, axis: str) -> list[float]:
    values: list[float] = np.asarray(line.get_xdata() if axis == "x" else line.get_ydata()).tolist()
    return values


PNG = b"\x89PNG\r\n\x1a\n"


def curve(*values: float, metric: str = "test_accuracy", name: str = "a") -> Curve:
    numbers = tuple(range(1, len(values) + 1))
    return Curve(name, name, metric, numbers, tuple(100.0 * n for n in numbers), (5.0,) * len(values), values)


@pytest.fixture
def compared(tmp_path: Path) -> Comparison:
    """FedAvg, which is slow, and FedProx, which is quick and dear."""
    slow = write_run(tmp_path / "runs", course(0.2, 0.5, 0.7, 0.9))
    quick = write_run(tmp_path / "runs", course(0.8, 0.95, sent=9e6), strategy={"name": "fedprox", "mu": 0.5})
    return compare([slow, quick], metric="test_accuracy", out=tmp_path / "out")


def test_costs_add_up_over_the_rounds(tmp_path: Path) -> None:
    found = read_curve(write_run(tmp_path, course(0.1, 0.2, 0.3)), metric="test_accuracy")
    assert (found.rounds, found.values) == ((1, 2, 3), (0.1, 0.2, 0.3))
    assert found.bytes == (1000.0, 2000.0, 3000.0)
    assert found.steps == (50.0, 100.0, 150.0)


def test_rounds_without_an_evaluation_cost_all_the_same(tmp_path: Path) -> None:
    silent = {"bytes_up": 7.0, "bytes_down": 3.0, "client_steps": 2.0}
    found = read_curve(write_run(tmp_path, [silent, silent, *course(0.4), silent]), metric="test_accuracy")
    assert (found.rounds, found.values, found.bytes, found.steps) == ((3,), (0.4,), (1020.0,), (54.0,))


def test_a_round_counts_once_and_a_torn_line_not_at_all(tmp_path: Path) -> None:
    run = write_run(tmp_path, course(0.1, 0.2))
    with (run.path / "history.jsonl").open("a") as file:
        file.write(json.dumps({"round": 2, "metrics": {"test_accuracy": 0.25}}) + '\n{"round": 3, "metr')
    assert [(number, metrics["test_accuracy"]) for number, metrics in read_rounds(run)] == [
        (1, 0.1),
        (2, 0.25),
    ]


def test_what_is_not_finite_is_no_point(tmp_path: Path) -> None:
    run = write_run(tmp_path, course(0.1, float("nan"), 0.3))
    assert read_curve(run, metric="test_accuracy").rounds == (1, 3)


def test_the_best_is_the_first_of_equals_and_small_for_a_loss() -> None:
    assert curve(0.1, 0.9, 0.9, 0.5).best == 1
    assert curve(0.9, 0.2, 0.4, metric="test_loss").best == 1


def test_a_target_is_reached_when_it_is_met_exactly() -> None:
    assert curve(0.1, 0.5, 0.9).first_to(0.5) == 1
    assert curve(0.1, 0.5, 0.9).first_to(0.91) is None
    assert curve(0.9, 0.2, metric="test_loss").first_to(0.2) == 1


def test_runs_are_compared_at_what_all_of_them_reached(compared: Comparison) -> None:
    assert compared.target == 0.9
    told = compared.to_dict()
    slow, quick = told["runs"].values()
    assert (slow["rounds_to_target"], slow["bytes_to_target"], slow["client_steps_to_target"]) == (
        4,
        4e3,
        200,
    )
    assert (quick["rounds_to_target"], quick["bytes_to_target"], quick["client_steps_to_target"]) == (
        2,
        18e6,
        100,
    )
    assert (slow["best"], slow["best_round"], slow["last"]) == (0.9, 4, 0.9)
    assert json.loads(json.dumps(told)) == told


def test_a_target_of_ones_own_may_be_out_of_reach(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, course(0.5, 0.6)), write_run(tmp_path, course(0.5, 0.8))]
    found = compare(runs, metric="test_accuracy", out=tmp_path / "out", target=0.7)
    first, second = found.to_dict()["runs"].values()
    assert first["rounds_to_target"] is None
    assert second["rounds_to_target"] == 2
    assert [row[6] for row in found.rows] == ["no", "round 2"]


def test_the_summary_tells_each_run_and_where_the_files_are(compared: Comparison) -> None:
    lines = compared.summary().splitlines()
    assert lines[0] == "test_accuracy; reached, bytes and client steps are those of 0.9"
    assert lines[1].split()[:3] == ["label", "rounds", "best"]
    assert "fedavg" in lines[2]
    assert "round 4" in lines[2]
    assert "4 kB" in lines[2]
    assert "fedprox" in lines[3]
    assert "18 MB" in lines[3]
    assert lines[4:] == [f"plot  {compared.png}", f"page  {compared.html}"]


def test_the_files_hold_what_is_told(compared: Comparison) -> None:
    assert compared.png.read_bytes().startswith(PNG)
    page = compared.html.read_text()
    assert '"name":"fedprox"' in page
    assert "<td>round 4</td>" in page
    assert "cdn.plot.ly" not in page.split("<script")[0]
    assert 'src="http' not in page
    head, *rows = csv.reader(compared.table.read_text().splitlines())
    assert tuple(head) == COLUMNS
    assert [tuple(row) for row in rows] == compared.rows


def test_a_notebook_shows_picture_and_table(compared: Comparison) -> None:
    assert compared._repr_png_().startswith(PNG)
    assert "<th>fedavg</th><td>0.9000</td>" in compared._repr_html_()


def test_a_label_is_what_sets_a_run_apart() -> None:
    same = {"seed": 0, "model.name": "mlp", "federated.workers": 1, "name": "a"}
    avg = same | {"federated.strategy.name": "fedavg", "federated.local_epochs": 1}
    prox = same | {
        "federated.strategy.name": "fedprox",
        "federated.strategy.mu": 0.01,
        "federated.workers": 2,
    }
    less = prox | {"federated.local_epochs": 1}
    more = prox | {"federated.strategy.mu": 1.0, "federated.local_epochs": 5}
    assert labels_of({"x-1": avg, "x-2": less}) == {"x-1": "fedavg", "x-2": "fedprox"}
    assert labels_of({"x-1": avg, "x-2": less, "x-3": more}) == {
        "x-1": "fedavg, local_epochs 1",
        "x-2": "fedprox, local_epochs 1, mu 0.01",
        "x-3": "fedprox, local_epochs 5, mu 1",
    }


def test_runs_alike_are_told_apart_by_their_folders() -> None:
    fields = {"federated.strategy.name": "fedavg", "federated.workers": 1}
    other = fields | {"federated.workers": 4, "tracking.dir": "elsewhere"}
    assert labels_of({"run-a1b2": fields, "run-c3d4": other}) == {"run-a1b2": "(a1b2)", "run-c3d4": "(c3d4)"}


def test_a_seed_is_told_where_nothing_else_differs() -> None:
    assert labels_of({"a": {"seed": 1}, "b": {"seed": 2}}) == {"a": "seed 1", "b": "seed 2"}


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    good, out = write_run(tmp_path, course(0.5)), tmp_path / "out"
    with pytest.raises(RunError, match="1 run to compare: name two or more"):
        compare([good, good], metric="test_accuracy", out=out)
    with pytest.raises(RunError, match="is a train run: it has no rounds"):
        compare([good, write_run(tmp_path, course(0.5), verb="train")], metric="test_accuracy", out=out)
    other = write_run(tmp_path, course(0.5))
    with pytest.raises(RunError, match=r"no metric 'test_acuracy': did you mean 'test_accuracy'"):
        compare([good, other], metric="test_acuracy", out=out)
    with pytest.raises(RunError, match="no round has ended yet"):
        compare([good, write_run(tmp_path, [])], metric="test_accuracy", out=out)
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runs = [write_run(tmp_path / "runs", course(0.5)), write_run(tmp_path / "runs", course(0.6))]
    with pytest.raises(RunError, match=r"can't write .*comparison\.png: .*: name another folder"):
        compare(runs, metric="test_accuracy", out=tmp_path / "file" / "out")


def test_a_comparison_has_three_plots_of_every_run() -> None:
    made = plots.draw_comparison([curve(0.1, 0.2, name="a"), curve(0.3, name="b")], title="t", target=0.2)
    assert isinstance(made, Figure)
    assert [axes.get_xlabel() for axes in made.axes] == ["round", "bytes sent", "client steps"]
    for axes in made.axes:
        first, second, target = axes.get_lines()
        assert (data(first, "y"), data(second, "y")) == ([0.1, 0.2], [0.3])
        assert data(target, "y") == [0.2, 0.2]
        assert (first.get_color(), first.get_linestyle(), first.get_marker()) != (
            second.get_color(),
            second.get_linestyle(),
            second.get_marker(),
        )
    assert data(made.axes[1].get_lines()[0], "x") == [100.0, 200.0]


@pytest.mark.parametrize("unit", [1.0, 5.04e4, 9.3e5, 1.7e8, 3.3e11])
def test_numbers_along_an_axis_do_not_run_into_each_other(unit: float) -> None:
    bytes_ = tuple(unit * n for n in range(1, 401))
    long = Curve("a", "a", "test_accuracy", tuple(range(1, 401)), bytes_, bytes_, (0.5,) * 400)
    made = plots.draw_comparison([long], title="t")
    made.draw_without_rendering()
    for axes in made.axes:
        (left, right), boxes = axes.get_xlim(), []
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
            if left <= place <= right:
                boxes.append(label.get_window_extent())
        assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_styles_do_not_repeat_before_many_runs() -> None:
    made = plots.draw_comparison([curve(0.1, name=str(n)) for n in range(28)], title="t")
    styles = [
        (line.get_color(), line.get_linestyle(), line.get_marker()) for line in made.axes[0].get_lines()
    ]
    assert len(set(styles)) == 28


def luminance(color: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", plots.COLORS)
def test_every_color_is_seen_on_white_paper(color: str) -> None:
    """WCAG 2.1, contrast of graphics: 3 to 1; 2 to 1 for the lighter ones, which come last."""
    least = 3.0 if color in plots.COLORS[:3] else 2.0
    assert 1.05 / (luminance(color) + 0.05) >= least
