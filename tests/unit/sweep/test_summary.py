"""What a sweep taught, in words."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nnray.config import Range, dump, load, parse, with_overrides
from nnray.runners.sweep.conductor import Fate
from nnray.runners.sweep.findings import Saved, broken, edges, failures, importance, judged, saved
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.lineage import ancestors, copies
from nnray.runners.sweep.summary import Summary, front_lines, summarize
from tests.unit.sweep.bench import Bench, epoch_of, make_experiment
from tests.unit.sweep.gallery import ledger_of, population, shown, trial

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
            told = epoch_of(epoch, value + epoch / 100, last=epoch == 4)
            if live.conductor.report(proposal.number, told) is not Fate.GO_ON:
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
    assert saved(4, live.ledger, resource="training.epochs") == Saved(6, 12)
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


def test_a_federated_sweep_is_told_by_round(tmp_path: Path) -> None:
    """What its trials report are rounds; no line of its summary calls them epochs."""
    sweep = {"of": "federate", "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, "trials": 4}
    federated = {"clients": 4, "rounds": 4}
    made = parse({"name": "tiny", "data": "digits", "model": "mlp", "federated": federated, "sweep": sweep})
    live = Bench(made, tmp_path)
    for values in ((0.5, 0.6, 0.7, 0.8), (0.1,), (math.nan,)):
        live.run_trial(*values)
    best = live.ledger.best
    assert best is not None
    text = "\n".join(summarize(made, live.ledger, study=live.study, best=best).lines())
    assert "trial 0, val_accuracy 0.8000 at round 4" in text
    assert "saved       3 of 8 rounds (38 %) by stopping early" in text
    assert "failed      1 x val_accuracy is nan in round 1" in text
    assert "epoch" not in text


def test_the_best_configuration_is_a_file_that_loads(bench: MakeBench, tmp_path: Path) -> None:
    best = filled(bench).ledger.best
    assert best is not None
    experiment = with_overrides(make_experiment(space=SPACE), best.params)
    (tmp_path / "best.yaml").write_text(dump(experiment))
    assert load(tmp_path / "best.yaml") == experiment
    assert experiment.optimizer.kwargs["lr"] == best.params["optimizer.lr"]


def summary_of(ledger: Ledger) -> Summary:
    """What is said of a ledger alone."""
    best = ledger.best
    assert best is not None
    return Summary(
        "val_accuracy",
        best,
        ledger.counts,
        front=tuple(ledger.front),
        broken=broken(ledger),
        judged=len(judged(ledger)),
        copies=len(copies(ledger)),
        ancestors=tuple(ancestors(ledger, best)),
    )


def test_the_front_is_a_small_table() -> None:
    lines = list(summary_of(shown(objectives=("parameters",), limit=60_000).ledger).lines())
    table = lines[lines.index("front       trial  val_accuracy  parameters") :][:5]
    assert table == [
        "front       trial  val_accuracy  parameters",
        "               13        0.9688        9870",
        "               21        0.9548        4130",
        "                0        0.9476        3040",
        "                1        0.9414        2740",
    ]
    assert "val_accuracy 0.9688, parameters 9870 at epoch 4" in lines[1]


def test_a_long_front_is_shown_from_one_end_to_the_other() -> None:
    front = [trial(number, 1 - number / 100) for number in range(40)]
    for number, member in enumerate(front):
        member.objectives = {"parameters": 1000.0 - number}
    lines = list(front_lines(front, metric="val_accuracy"))
    assert len(lines) == 1 + 12 + 1
    assert [line.split()[0] for line in (lines[1], lines[12])] == ["0", "39"]
    assert lines[-1].strip() == "and 28 more between them"
    assert len(set(lines)) == len(lines)


def test_no_front_without_objectives() -> None:
    assert not any(line.startswith("front") for line in summary_of(shown().ledger).lines())


def test_each_constraint_says_how_many_trials_broke_it() -> None:
    ledger = shown(limit=60_000).ledger
    ended_well = [t for t in ledger.trials.values() if t.state != "failed"]
    too_large = sum(t.params["model.hidden"] == [256, 256, 128] for t in ended_well)
    assert broken(ledger) == {"parameters <= 60000": too_large}
    text = "\n".join(summary_of(ledger).lines())
    assert f"constraint  parameters <= 60000: broken by {too_large} of {len(ended_well)} trials" in text
    assert broken(shown().ledger) == {}


def test_the_summary_says_where_the_weights_of_the_best_come_from() -> None:
    whole = population()
    lines = list(summary_of(whole.ledger).lines())
    assert "            its weights come from trial 7 (epoch 6), trial 1 (epoch 3)" in lines
    assert "population  6 times a trial took the weights of a better one" in lines


def test_a_failed_trial_says_nothing_on_a_constraint() -> None:
    failed = trial(0, math.nan, state="failed")
    failed.violations = {"val_loss <= 1": math.inf}
    assert broken(ledger_of(failed)) == {}


def test_an_edge_of_an_absent_parameter_is_passed_over() -> None:
    space = {"lr": Range(uniform=(0.0, 1.0)), "momentum": Range(uniform=(0.0, 0.99))}
    assert len(list(edges(space, {"lr": 1.0}))) == 1


def test_importance_counts_parameters_that_only_some_trials_have() -> None:
    shares = importance(shown(trials=60).study)
    assert set(shares) == set(shown().space)
    assert sum(shares.values()) == pytest.approx(1)


def test_failures_are_counted_the_most_frequent_first() -> None:
    trials = [trial(number, math.nan, state="failed") for number in range(3)]
    for member, reason in zip(trials, ("NaN", "OOM", "OOM"), strict=True):
        member.reason = reason
    assert list(failures(ledger_of(*trials)).items()) == [("OOM", 2), ("NaN", 1)]
