"""What the trials of a sweep spend together; the sums alone, without Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant

from nnray.assembly import assemble, private_seed
from nnray.config import Experiment, dump, parse, with_overrides
from nnray.config.privacy import PrivacyConfig
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError
from nnray.runners.sweep import privacy
from nnray.runners.sweep.ledger import State, Trial
from nnray.runners.sweep.privacy import phases_of, told, total_epsilon
from nnray.training.step import supervised

PRIVACY: dict[str, Any] = {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-5, "accountant": "rdp"}
NUM_EXAMPLES = 1000


@pytest.fixture(autouse=True)
def keep_section(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overrides leave the section as it is, also where it was set beside the file."""

    def overridden(made: Experiment, params: Mapping[str, Any]) -> Experiment:
        return with_overrides(made, params).model_copy(update={"privacy": made.privacy})

    monkeypatch.setattr(privacy, "with_overrides", overridden)


def experiment(settings: Mapping[str, Any] | None = None, **sweep: Any) -> Experiment:
    made = parse(
        {
            "name": "digits",
            "data": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [8]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "training": {"epochs": 5, "batch_size": 50},
            "sweep": {"space": {"optimizer.lr": {"uniform": [0.1, 1.0]}}, **sweep},
        }
    )
    return made.model_copy(update={"privacy": PrivacyConfig(**{**PRIVACY, **(settings or {})})})


def trial(number: int, epoch: int, state: State = "finished", **params: Any) -> Trial:
    named = {path.replace("__", "."): value for path, value in params.items()}
    return Trial(number, named, f"run{number}", state=state, epoch=epoch)


def directly(*parts: tuple[float, float, int]) -> float:
    """The oracle: dp-accounting, given noise, rate and steps of each part."""
    accountant = RdpAccountant()
    for noise, rate, steps in parts:
        event = PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
        accountant.compose(SelfComposedDpEvent(event, steps))
    return float(accountant.get_epsilon(1e-5))


def total(made: Experiment, trials: list[Trial]) -> float:
    found = total_epsilon(made, trials, num_examples=NUM_EXAMPLES)
    assert found is not None
    return found


def test_trials_are_composed_each_with_its_own_steps_and_rate() -> None:
    trials = [
        trial(0, 5, optimizer__lr=0.1),
        trial(1, 2, "pruned", optimizer__lr=0.9),
        trial(2, 5, training__batch_size=100),
    ]
    expected = directly((1.0, 0.05, 100), (1.0, 0.05, 40), (1.0, 0.1, 50))
    assert total(experiment(), trials) == pytest.approx(expected, rel=1e-9)


def test_many_trials_spend_more_than_one_and_less_than_their_sum() -> None:
    one = total(experiment(), [trial(0, 5)])
    many = total(experiment(), [trial(number, 5) for number in range(16)])
    assert one < many < 16 * one
    assert many > 2 * one


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_an_epoch_that_broke_off_counts_as_a_whole(state: State) -> None:
    assert total(experiment(), [trial(0, 2, state)]) == total(experiment(), [trial(0, 3)])
    assert total(experiment(), [trial(0, 5, state)]) == total(experiment(), [trial(0, 5)])
    assert total(experiment(), [trial(0, 0, state)]) > 0


def test_epsilon_alone_gives_each_trial_the_noise_of_its_own_length() -> None:
    made = experiment({"epsilon": 2.0, "noise_multiplier": None})
    (full,) = phases_of(made, [trial(0, 5)], num_examples=NUM_EXAMPLES)
    (short,) = phases_of(made, [trial(1, 1, training__epochs=1)], num_examples=NUM_EXAMPLES)
    assert short.noise_multiplier < full.noise_multiplier
    for phase in (full, short):
        assert directly((phase.noise_multiplier, phase.rate, phase.steps)) == pytest.approx(2.0, abs=1e-3)


def test_a_trial_whose_budget_was_too_small_has_spent_nothing() -> None:
    made = experiment({"epsilon": 0.5})
    assert total(made, [trial(0, 0, "failed", training__batch_size=1000)]) == 0.0
    mixed = [trial(0, 1), trial(1, 0, "failed", training__batch_size=1000)]
    assert total(experiment({"epsilon": 9.0}), mixed[:1]) == directly((1.0, 0.05, 20))


def test_without_privacy_there_is_nothing_to_say() -> None:
    made = experiment().model_copy(update={"privacy": None})
    assert total_epsilon(made, [trial(0, 5)], num_examples=NUM_EXAMPLES) is None


def federated(privacy_of: Mapping[str, Any], **section: Any) -> Experiment:
    return parse(
        {
            "name": "digits",
            "data": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [8]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "federated": {"clients": 50, "cohort": 10, "sampler": "poisson", "rounds": 8, **section},
            "privacy": {"delta": 1e-3, "accountant": "rdp", **privacy_of},
            "sweep": {"of": "federate", "space": {"federated.cohort": {"int": [5, 20]}}},
        }
    )


def test_federated_trials_are_totalled_by_their_own_cohorts_and_rounds() -> None:
    """One that broke off was in the middle of a round, which counts."""
    made = federated({"unit": "client", "noise_multiplier": 1.1})
    trials = [
        trial(0, 8, federated__cohort=5),
        trial(1, 3, "pruned", federated__cohort=20),
        trial(2, 2, "failed", federated__cohort=10),
    ]
    accountant = RdpAccountant()
    for rate, rounds in ((0.1, 8), (0.4, 3), (0.2, 3)):
        event = PoissonSampledDpEvent(rate, GaussianDpEvent(1.1))
        accountant.compose(SelfComposedDpEvent(event, rounds))
    found = total_epsilon(made, trials, num_examples=NUM_EXAMPLES)
    assert found == pytest.approx(accountant.get_epsilon(1e-3), rel=1e-6)
    assert told(made, found, num_trials=3).count("for one client, by all 3 trials together") == 1


def test_what_can_t_be_reckoned_is_said_to_be_spent_all_the_same() -> None:
    made = federated({"unit": "example", "noise_multiplier": 1.1})
    assert total_epsilon(made, [trial(0, 5)], num_examples=NUM_EXAMPLES) is None
    said = told(made, None, num_trials=4)
    assert "4 trials spend together is not reckoned without the sizes of all clients" in said
    assert "each of them has spent budget" in said


@pytest.mark.parametrize("path", ["privacy.delta", "federated.clients"])
def test_what_decides_how_trials_add_up_is_not_searched(path: str) -> None:
    values = [1e-3, 1e-4] if path == "privacy.delta" else [40, 50]
    with pytest.raises(ConfigError, match="can't be searched"):
        with_space(federated({"unit": "client", "noise_multiplier": 1.1}), {path: {"choice": values}})


def with_space(made: Experiment, space: Mapping[str, Any]) -> Experiment:
    tree = yaml.safe_load(dump(made))
    tree["sweep"]["space"] = dict(space)
    return parse(tree)


def test_the_words_say_that_every_trial_spends() -> None:
    said = told(experiment(), 3.21, num_trials=16)
    assert said.startswith("epsilon 3.21 at delta 1e-05") and "all 16 trials together" in said


INFO = DataInfo("digits", (64,), tuple("0123456789"), digest="abc")


def test_each_training_has_draws_of_its_own() -> None:
    """Else what two of them make of the same noise gives it away."""
    base = experiment()
    others = [
        with_overrides(base, {"optimizer.lr": 0.2}),
        with_overrides(base, {"training.epochs": 6}),
        with_overrides(base, {"training.batch_size": 51}),
        with_overrides(base, {"model.hidden": [9]}),
        with_overrides(base, {"seed": 1}),
        with_overrides(base, {"data.limit": 900}),
    ]
    kept = [other.model_copy(update={"privacy": base.privacy}) for other in others]
    changed = [
        experiment({"noise_multiplier": 2.0}),
        experiment({"clip_norm": 2.0}),
        experiment({"epsilon": 3.0}),
    ]
    seeds = [private_seed(made, INFO) for made in (base, *kept, *changed)]
    other_data = DataInfo("digits", (64,), INFO.classes, digest="abd")
    seeds.append(private_seed(base, other_data))
    assert len(set(seeds)) == len(seeds) == 11


def test_the_same_training_has_the_same_draws_wherever_it_runs() -> None:
    base = experiment()
    elsewhere = with_overrides(
        base,
        {"name": "other", "data.root": "/tmp", "training.threads": 1, "tracking.dir": "x", "sweep": None},
    ).model_copy(update={"privacy": base.privacy})
    assert private_seed(elsewhere, INFO) == private_seed(base, INFO)
    assert private_seed(experiment({"physical_batch_size": 7}), INFO) == private_seed(base, INFO)


def test_two_trials_add_noise_that_has_nothing_in_common() -> None:
    """A batch without examples moves a model by noise alone."""
    moves = []
    for lr in (1.0, 0.5):
        made = with_overrides(experiment(), {"optimizer.lr": lr})
        made = made.model_copy(update={"privacy": PrivacyConfig(**{**PRIVACY, "clip_norm": 1e-6})})
        built = assemble(made)
        before = [param.detach().clone() for param in built.state.model.parameters()]
        inputs, targets = next(iter(built.train.epoch(1)))
        built.step_fn(built.state, inputs[:0], targets[:0], supervised(built.task))
        after = [param.detach() for param in built.state.model.parameters()]
        moves.append([(b - a).flatten() for a, b in zip(before, after, strict=True)])
    one, other = (move[0].double() for move in moves)
    correlation = float((one @ other) / (one.norm() * other.norm()))
    assert abs(correlation) < 4 / math.sqrt(len(one))
