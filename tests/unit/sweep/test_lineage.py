"""Who took whose weights: the chain to the best trial, and the plots of it."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import FancyArrowPatch

from nnray.runners.sweep.journal import Turned
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.lineage import Ancestor, Stage, ancestors, changed, copies, heritage, stages
from nnray.runners.sweep.plots.canvas import BEST
from nnray.runners.sweep.plots.family import lineage, parameters
from tests.unit.sweep.gallery import ledger_of, population, shown, trial


def family() -> Ledger:
    """Trial 2 took from 1 after epoch 4, which took from 0 after epoch 2; 0 took from 3 after epoch 6."""
    members = [trial(number, 0.5 + number / 10, optimizer__lr=0.1) for number in range(4)]
    for member in members:
        member.epoch = 8
    members[0].lineage = [turn(0, 2, None), turn(0, 4, None), turn(0, 6, 3)]
    members[1].lineage = [turn(1, 2, 0, lr=0.12), turn(1, 4, None, lr=0.12), turn(1, 6, None, lr=0.12)]
    members[2].lineage = [turn(2, 2, None), turn(2, 4, 1, lr=0.09), turn(2, 6, None, lr=0.09)]
    members[3].lineage = [turn(3, epoch, None) for epoch in (2, 4, 6)]
    return ledger_of(*members)


def turn(number: int, epoch: int, source: int | None, *, lr: float = 0.1) -> Turned:
    return Turned(number, epoch, {"optimizer.lr": lr}, source)


def test_ancestors_are_those_at_the_time_the_weights_were_taken() -> None:
    ledger = family()
    assert ancestors(ledger, ledger.trials[2]) == [Ancestor(1, 4), Ancestor(0, 2)]
    assert ancestors(ledger, ledger.trials[0]) == [Ancestor(3, 6)]
    assert ancestors(ledger, ledger.trials[3]) == []


def test_the_heritage_goes_back_to_the_first_epoch_without_a_gap() -> None:
    ledger = family()
    assert heritage(ledger, ledger.trials[2]) == [(2, 4, 8), (1, 2, 4), (0, 0, 2)]
    whole = population()
    for member in whole.ledger.trials.values():
        line = heritage(whole.ledger, member)
        assert line[0][2] == member.epoch
        assert line[-1][1] == 0
        assert [begin for _, begin, _ in line[:-1]] == [end for _, _, end in line[1:]]


def test_copies_are_in_order_of_the_epoch() -> None:
    assert copies(family()) == [(1, Ancestor(0, 2)), (2, Ancestor(1, 4)), (0, Ancestor(3, 6))]
    assert copies(shown().ledger) == []


def test_the_stages_of_a_trial_fill_its_epochs() -> None:
    ledger = family()
    ledger.trials[2].proposed = first = {"optimizer.lr": 0.5}
    assert stages(ledger.trials[2]) == [
        Stage(2, 0, 2, first),
        Stage(2, 2, 4, {"optimizer.lr": 0.1}),
        Stage(2, 4, 6, {"optimizer.lr": 0.09}),
        Stage(2, 6, 8, {"optimizer.lr": 0.09}),
    ]
    alone = trial(0, 0.5, optimizer__lr=0.3)
    assert stages(alone) == [Stage(0, 0, 1, {"optimizer.lr": 0.3})]


def test_a_turn_that_nothing_was_trained_after_is_no_stage() -> None:
    ledger = family()
    ledger.trials[2].epoch = 6
    assert [stage.end for stage in stages(ledger.trials[2])] == [2, 4, 6]


def test_what_changed_is_what_a_turn_has_changed() -> None:
    whole = population()
    found = changed(list(whole.ledger.trials.values()))
    assert set(found) == set(whole.space)
    assert changed([trial(0, 0.5, a=1)]) == []


def test_the_plot_has_an_arrow_a_copy_and_the_best_line_in_its_color() -> None:
    whole = population()
    figure = lineage(whole.picture)
    assert figure is not None
    axes = figure.axes[0]
    arrows = [text.arrow_patch for text in axes.texts if isinstance(text.arrow_patch, FancyArrowPatch)]  # type: ignore[attr-defined]
    assert len(arrows) == len(copies(whole.ledger)) == 6
    best = whole.ledger.best
    assert best is not None
    line = heritage(whole.ledger, best)
    assert len(line) > 1
    spans = [list(drawn.get_xdata()) for drawn in axes.lines if drawn.get_color() == BEST]  # type: ignore[arg-type]
    assert spans == [[begin, end] for _, begin, end in line]
    dots = axes.collections[1].get_offsets()
    assert len(np.asarray(dots)) == sum(len(t.values) for t in whole.ledger.trials.values())


def test_there_is_no_lineage_without_a_population() -> None:
    assert lineage(shown().picture) is None
    assert parameters(shown().picture) is None


def test_parameters_over_epochs_begin_with_what_was_proposed() -> None:
    whole = population()
    figure = parameters(whole.picture)
    assert figure is not None
    by_name = {axes.get_ylabel(): axes for axes in figure.axes}
    assert set(by_name) == {"lr", "dropout", "momentum"}
    begun = {
        float(np.asarray(line.get_ydata())[0])
        for line in by_name["lr"].lines
        if np.asarray(line.get_xdata())[0] == 0 and line.get_color() != BEST
    }
    assert begun == {float(t.proposed["optimizer.lr"]) for t in whole.ledger.trials.values()}
    red = [line for line in by_name["lr"].lines if line.get_color() == BEST]
    assert sum(np.diff(np.asarray(line.get_xdata(), dtype=float))[0] for line in red) == 12
