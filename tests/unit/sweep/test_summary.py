"""What a sweep taught, what it looks like, and what it came to."""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread
from rich.console import Console

from nnray.config import Range, dump, load, with_overrides
from nnray.runners.sweep import table as tables
from nnray.runners.sweep.page import write_page
from nnray.runners.sweep.plots import Picture, write_plots
from nnray.runners.sweep.result import SweepResult
from nnray.runners.sweep.summary import Saved, edges, importance, saved, summarize
from nnray.runners.sweep.table import LiveTable, TrialLines, number, short_names, trial_table, words
from tests.unit.sweep.bench import Bench, epoch_of, make_experiment

MakeBench = Callable[..., Bench]
SPACE = {
    "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
    "model.dropout": {"uniform": [0.0, 0.6]},
    "training.batch_size": {"choice": [16, 32, 64]},
    "model.hidden": {"choice": [[8], [8, 8]]},
}


def worth(params: dict[str, object]) -> float:
    """The learning rate decides, all else is noise."""
    return 1 - (math.log10(float(params["optimizer.lr"])) + 2) ** 2 / 9  # type: ignore[arg-type]


def filled(bench: MakeBench, *, trials: int = 24, **sweep: object) -> Bench:
    """A sweep whose trials have ended: some finished, some pruned, one failed."""
    live = bench(trials=trials, space=SPACE, scheduler="asha", **sweep)
    draw = random.Random(0)
    for turn in range(trials):
        proposal = live.conductor.propose()
        assert proposal is not None
        value = math.nan if turn == 3 else worth(dict(proposal.params)) + 0.01 * draw.random()
        for epoch in range(1, 5):
            if live.conductor.report(proposal.number, epoch_of(epoch, value + epoch / 100, last=epoch == 4)):
                break
    return live


def test_importance_finds_the_parameter_that_decides(bench: MakeBench) -> None:
    shares = importance(filled(bench).study.with_pruned())
    assert next(iter(shares)) == "optimizer.lr"
    assert shares["optimizer.lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)


def test_too_few_trials_say_nothing_on_importance(bench: MakeBench) -> None:
    assert importance(filled(bench, trials=6).study.with_pruned()) == {}


def test_importance_of_equal_trials_is_left_open(bench: MakeBench) -> None:
    live = bench(trials=10)
    for _ in range(10):
        live.run_trial(0.5)
    assert importance(live.study.with_pruned()) == {}


@pytest.mark.parametrize(
    ("value", "side"),
    [(0.0999, "upper"), (1.01e-4, "lower"), (1e-2, None), (2e-4, None), (0.05, None)],
)
def test_an_edge_is_judged_as_the_range_is_searched(value: float, side: str | None) -> None:
    found = list(edges({"lr": Range(loguniform=(1e-4, 1e-1))}, {"lr": value}))
    assert [side in text for text in found] == ([True] if side else [])


def test_a_choice_has_no_edge() -> None:
    assert list(edges({"x": Range(choice=[1, 2])}, {"x": 1})) == []


def test_what_stopping_early_saved_is_counted_over_trials_that_went_well(bench: MakeBench) -> None:
    live = bench(scheduler="asha")
    live.run_trial(0.5, 0.6, 0.7, 0.8)
    live.run_trial(0.1)
    live.run_trial(0.4, 0.5, 0.6, 0.7)
    live.run_trial(math.nan)
    assert [t.state for t in live.ledger.trials.values()] == ["finished", "finished", "pruned", "failed"]
    assert saved(4, live.ledger) == Saved(6, 12)
    assert Saved(6, 12).percent == 50


def test_the_summary_names_all_that_matters(bench: MakeBench) -> None:
    live = filled(bench)
    best = live.ledger.best
    assert best is not None
    text = "\n".join(
        summarize(make_experiment(space=SPACE), live.ledger, study=live.study, best=best).lines()
    )
    for word in ("24 trials: ", " pruned", "1 failed", f"trial {best.number}", "importance", "saved", "1 x "):
        assert word in text


def test_the_best_configuration_is_a_file_that_loads(bench: MakeBench, tmp_path: Path) -> None:
    best = filled(bench).ledger.best
    assert best is not None
    experiment = with_overrides(make_experiment(space=SPACE), best.params)
    (tmp_path / "best.yaml").write_text(dump(experiment))
    assert load(tmp_path / "best.yaml") == experiment
    assert experiment.optimizer.kwargs["lr"] == best.params["optimizer.lr"]


def test_the_result_goes_through_json_and_back(bench: MakeBench, tmp_path: Path) -> None:
    best = filled(bench).ledger.best
    assert best is not None
    experiment = with_overrides(make_experiment(space=SPACE), best.params)
    path = tmp_path / "best.yaml"
    path.write_text(dump(experiment))
    result = SweepResult(
        run_id="r",
        verb="sweep",
        seconds=1.5,
        metrics={"test_accuracy": 0.9},
        model_uri="models:/m-1",
        model_sha256="abc",
        tracking_uri="memory:",
        best=experiment,
        params=best.params,
        best_value=best.value,
        trials={"finished": 3},
        epochs=9,
        best_file=path,
        champion="the model of trial 1",
        text="3 trials",
        folder=tmp_path,
    )
    saved_result = json.loads(json.dumps(result.to_dict()))
    assert saved_result["best"] == dict(best.params)
    assert SweepResult.from_dict(saved_result) == result
    assert f"nnray train {path}" in result.summary()
    assert "test_accuracy" in result._repr_html_()


def picture(live: Bench) -> Picture:
    space = {path: Range.model_validate(given) for path, given in SPACE.items()}
    shares = importance(live.study.with_pruned())
    return Picture(space, "val_accuracy", "max", live.ledger, shares)


def test_every_plot_is_a_picture_with_something_in_it(bench: MakeBench, tmp_path: Path) -> None:
    paths = write_plots(tmp_path / "plots", picture(filled(bench)))
    assert [path.stem for path in paths] == ["history", "importance", "parallel_coordinates", "slices"]
    for path in paths:
        pixels = imread(path)
        assert min(pixels.shape[:2]) > 200
        assert pixels.std() > 0.01


def test_a_sweep_of_one_trial_is_plotted_as_far_as_there_is_something_to_see(
    bench: MakeBench, tmp_path: Path
) -> None:
    live = bench(trials=1, space=SPACE)
    live.run_trial(0.5)
    assert [path.stem for path in write_plots(tmp_path, picture(live))] == ["history", "slices"]


def test_no_plot_of_a_sweep_that_came_to_nothing(bench: MakeBench, tmp_path: Path) -> None:
    live = bench(trials=1, space=SPACE)
    live.run_trial(math.nan)
    assert write_plots(tmp_path, picture(live)) == []
    assert write_page(tmp_path / "plots.html", live.study.with_pruned(), metric="val_accuracy") is None


def test_the_page_needs_no_network(bench: MakeBench, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    path = write_page(tmp_path / "plots.html", filled(bench).study.with_pruned(), metric="val_accuracy")
    assert path is not None
    page = path.read_text()
    assert page.count('class="plotly-graph-div"') == 4
    assert "<script src=" not in page
    assert "</html>" in page


def console(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, height=30, force_terminal=True, legacy_windows=False)


def printed(live: Bench, width: int, rows: int = 50) -> list[str]:
    shown = Console(file=io.StringIO(), width=width)
    shown.print(trial_table(live.ledger, metric="val_accuracy", width=width, rows=rows))
    output = shown.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().splitlines()


def test_the_table_has_the_best_first_and_a_column_a_parameter(bench: MakeBench) -> None:
    live = filled(bench)
    lines = printed(live, 140)
    assert all(word in lines[1] for word in ("trial", "epoch", "val_accuracy", "state", "lr", "batch_size"))
    best = live.ledger.ranked[0]
    assert lines[3].split()[1] == str(best.number)
    assert "failed" in lines[-2]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_gets_one_line_a_trial(bench: MakeBench, width: int) -> None:
    lines = printed(filled(bench), width)
    assert max(map(len, lines)) <= width
    assert re.search(r"trial .* epoch .* val_.* state", lines[1])
    assert ("parameters" in lines[1]) == (width >= 60)
    assert any(" finished " in line for line in lines)
    assert len(lines) == 24 + 4


def test_running_trials_are_shown_however_bad(bench: MakeBench) -> None:
    live = filled(bench)
    live.conductor._config = live.conductor._config.model_copy(update={"trials": 99})
    proposal = live.conductor.propose()
    assert proposal is not None
    lines = printed(live, 140, rows=4)
    assert len(lines) == 4 + 4
    assert any("running" in line for line in lines)


def test_lines_say_how_each_trial_ended(bench: MakeBench, capsys: pytest.CaptureFixture[str]) -> None:
    live = bench(trials=2)
    with TrialLines(live.ledger, metric="val_accuracy", trials=2, title="digits") as lines:
        live.conductor._listeners += (lines.event,)
        live.run_trial(0.25)
        live.run_trial(math.nan)
    title, first, second, *table = capsys.readouterr().err.splitlines()
    assert title == "digits: 2 trials"
    assert len(table) == 2 + 4
    assert all(len(line) <= 100 for line in table)
    assert first.startswith(
        "[1/2] trial 0 finished after epoch 1  val_accuracy 0.25  best 0.25 (trial 0)  lr="
    )
    assert second.startswith("[2/2] trial 1 failed after epoch 1")
    assert second.endswith("(val_accuracy is nan in epoch 1)")


def test_a_live_table_leaves_all_trials_behind(bench: MakeBench) -> None:
    live, shown = filled(bench), console(120)
    with LiveTable(live.ledger, metric="val_accuracy", trials=24, title="digits", console=shown) as display:
        display.refresh()
        display.note("a warning [not a tag]")
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue()
    assert "24 of 24 trials" in text
    assert "a warning [not a tag]" in text


def test_the_display_fits_where_it_is_shown(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(*, quiet: bool, terminal: bool) -> str:
        monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
        ledger = bench().ledger
        return type(tables.choose_display(ledger, metric="m", trials=1, title="t", quiet=quiet)).__name__

    assert chosen(quiet=True, terminal=True) == "Silent"
    assert chosen(quiet=False, terminal=True) == "LiveTable"
    assert chosen(quiet=False, terminal=False) == "TrialLines"


def test_short_names_stay_apart() -> None:
    assert short_names(["optimizer.lr", "schedule.lr", "model.dropout"]) == {
        "optimizer.lr": "optimizer.lr",
        "schedule.lr": "schedule.lr",
        "model.dropout": "dropout",
    }


def test_values_are_short() -> None:
    assert [number(v) for v in (0.123456, 1e-7, 3, None, math.nan, "adam")] == [
        "0.1235", "1e-07", "3", "None", "-", "adam",
    ]  # fmt: skip
    assert words({"optimizer.lr": 0.00123456, "model.hidden": [8]}) == "lr=0.001235 hidden=[8]"
