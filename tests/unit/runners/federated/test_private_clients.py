"""Federated runs whose clients train by DP-SGD: what they spend, what is refused, that they resume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from nnray.assembly import load_data, private_seed
from nnray.config import Experiment
from nnray.errors import ConfigError, IncompatibleModel
from nnray.federated.outcome import ClientReport, Failed, RoundStart
from nnray.federated.rounds import Fault
from nnray.federated.strategy import traits
from nnray.privacy.accounting import epsilon
from nnray.runners.federated.participants import Participants
from nnray.runners.federated.private_clients import LocalGuarantee, epsilon_so_far
from nnray.runners.federated.setting import (
    Setting,
    first_weights,
    local_training,
    make_setting,
    make_trainer,
    strategy_of,
)
from tests.unit.runners.federated.small import Ran, Told, experiment, ran

PRIVACY: dict[str, Any] = {
    "unit": "example",
    "noise_multiplier": 1.0,
    "delta": 1e-4,
    "clip_norm": 0.5,
    "accountant": "rdp",
}
IID = {"partition": {"name": "iid"}}
STAGED = {
    "fedavg": ({"name": "fedavg"}, 1),
    "fedrep": ({"name": "fedrep", "head_epochs": 3}, 4),
    "ditto": ({"name": "ditto", "personal_epochs": 2}, 3),
    "pfedme": ({"name": "pfedme", "inner_steps": 1}, 1),
}
"""Strategies, and the passes over a client's examples that a round of each takes."""


def private(
    federated: Mapping[str, Any] | None = None, *, privacy: Mapping[str, Any] | None = None, **fields: Any
) -> Experiment:
    return experiment(federated, privacy={**PRIVACY, **(privacy or {})}, **fields)


def setting_of(made: Experiment) -> Setting:
    return make_setting(made, load_data(made))


def promised(made: Experiment) -> LocalGuarantee:
    found = setting_of(made).local_guarantee
    assert found is not None
    return found


def begun(setting: Setting, number: int = 1) -> RoundStart:
    """The first weights, in whichever round."""
    weights = first_weights(setting)
    server = strategy_of(setting).server_state(weights.params)
    return RoundStart(round=number, weights=weights, server=server)


def directly(setting: Setting, client: int, *, rounds: int, passes: int = 1, noise: float = 1.0) -> float:
    """The oracle: what one client spends."""
    size = len(setting.population.of(client))
    rate = min(1.0, 10 / size)
    steps = rounds * passes * max(1, round(1 / rate))
    return epsilon(noise_multiplier=noise, rate=rate, steps=steps, delta=1e-4, accountant="rdp")


def test_nothing_is_promised_where_nothing_is_asked() -> None:
    assert setting_of(experiment()).local_guarantee is None
    clients = {"cohort": 20, "sampler": "uniform"}
    of_clients = experiment(clients, privacy={"unit": "client", "noise_multiplier": 1.0, "delta": 1e-4})
    assert setting_of(of_clients).local_guarantee is None


@pytest.mark.parametrize("name", STAGED)
def test_the_steps_of_all_stages_are_reckoned_with(name: str) -> None:
    strategy, passes = STAGED[name]
    setting = setting_of(private({"strategy": strategy}))
    found = setting.local_guarantee
    assert found is not None
    for client in range(3):
        expected = directly(setting, client, rounds=2, passes=passes)
        assert found.epsilon({client: 2}) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", STAGED)
def test_clients_take_as_many_steps_as_are_reckoned_with(name: str) -> None:
    setting = setting_of(private({"strategy": STAGED[name][0]}))
    strategy, found = strategy_of(setting), setting.local_guarantee
    assert found is not None
    trainer, start = make_trainer(setting, strategy), begun(setting)
    for client in range(4):
        sent = trainer.send(start, client, state={})
        assert sent.report.num_steps == found.steps.in_round[sent.report.num_examples]
        assert math.isfinite(sent.report.loss)


def test_noise_is_found_once_so_that_no_client_exceeds_epsilon() -> None:
    made = private(IID, privacy={"noise_multiplier": None, "epsilon": 5.0})
    setting = setting_of(made)
    found = setting.local_guarantee
    assert found is not None
    noise, clients = found.noise_multiplier, range(len(setting.population))
    each = [directly(setting, client, rounds=4, noise=noise) for client in clients]
    assert 5.0 - 1e-3 < max(each) <= 5.0
    assert found.rounds == 4
    assert f"epsilon {max(each):.4g}" in found.describe()


def test_a_budget_ends_rounds_before_the_worst_client_exceeds_it() -> None:
    setting = setting_of(private({"rounds": 50, **IID}, privacy={"epsilon": 12.0}))
    found = setting.local_guarantee
    assert found is not None
    worst = [max(directly(setting, c, rounds=r) for c in range(20)) for r in (found.rounds, found.rounds + 1)]
    assert 1 < found.rounds < 50
    assert worst[0] <= 12.0 < worst[1]


def test_a_budget_that_one_round_exceeds_is_refused() -> None:
    with pytest.raises(ConfigError, match="less than a client spends in its first round"):
        setting_of(private(IID, privacy={"epsilon": 0.01}))


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ({"name": "qfedavg"}, "loss of their examples without noise"),
        ({"name": "pfedme", "inner_steps": 2}, "several steps on the examples"),
    ],
)
def test_strategies_that_tell_or_use_more_are_refused(strategy: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        setting_of(private({"strategy": strategy}))


def test_a_model_that_mixes_examples_is_refused_or_replaced() -> None:
    model = {"name": "mlp", "hidden": [8], "norm": "batch"}
    with pytest.raises(IncompatibleModel, match="BatchNorm"):
        setting_of(private(model=model))
    assert promised(private(privacy={"replace_modules": True}, model=model)).rounds == 4


class Once:
    """A round's report, as far as participants look at it."""

    def __init__(self, trained: list[int], failed: list[int]) -> None:
        self.reports = [ClientReport(client, 1, 1, 0.0, 0.0) for client in trained]
        self.faults = [Fault(Failed(client, "", ""), "dropped") for client in failed]


def test_epsilon_so_far_is_that_of_the_worst_client_lost_updates_among_them() -> None:
    setting = setting_of(private())
    participants = Participants(setting.population)
    found = setting.local_guarantee
    assert epsilon_so_far(None, participants, number=1) is None
    assert epsilon_so_far(found, participants, number=1) is None
    participants.take(Once([0, 1], []))  # type: ignore[arg-type]
    participants.take(Once([1], [2]))  # type: ignore[arg-type]
    counts = {0: 1, 1: 2, 2: 1}
    expected = max(directly(setting, client, rounds=count) for client, count in counts.items())
    assert epsilon_so_far(found, participants, number=2) == pytest.approx(expected, rel=1e-9)
    once = max(directly(setting, client, rounds=1) for client in counts)
    assert epsilon_so_far(found, participants, number=1) == pytest.approx(once, rel=1e-9)


def test_what_is_outside_is_said() -> None:
    def outside(**fields: Any) -> str:
        made = private(**fields)
        return "; ".join(promised(made).outside(made))

    told = outside()
    assert "seed" in told and "how many examples" in told and "mean and standard" in told
    assert "train_loss" in told
    assert "train_loss" not in outside(privacy={"metrics": "withheld"})
    assert "mean and standard" not in outside(data={"name": "digits", "limit": 400, "normalize": False})


def test_what_a_client_sends_depends_on_one_example_by_no_more_than_its_share() -> None:
    """With next to no noise, plain SGD and one step over all examples: by clip, rate and learning rate."""
    made = private(
        {"batch_size": "all", "holdout": 0.0},
        privacy={"noise_multiplier": 1e-9, "clip_norm": 0.1},
        model={"name": "mlp", "hidden": [8]},
        data={"name": "digits", "limit": 400, "normalize": False},
    )
    deltas = []
    for changed in (False, True):
        setting = setting_of(made)
        if changed:
            first = int(setting.population.of(0)[0])
            setting.train.inputs[first] = 255 - setting.train.inputs[first]
            setting.train.targets[first] = (setting.train.targets[first] + 5) % 10
        trainer = make_trainer(setting, strategy_of(setting))
        deltas.append(trainer.train(begun(setting), 0, state={}).delta)
    moved, size = float((deltas[0] - deltas[1]).norm()), len(setting.population.of(0))
    assert 0 < moved <= 2 * 0.1 * 0.1 / size * (1 + 1e-3)


def test_a_run_has_noise_and_goes_on_as_if_nothing_had_happened() -> None:
    made = private({"rounds": 3, "local_epochs": 2})
    whole = Ran(made)
    result = whole.go()
    broken = Ran(made)
    with pytest.raises(KeyboardInterrupt):
        broken.go(Told(interrupt_after=1))
    assert broken.go().model_sha256 == result.model_sha256
    assert broken.measured == whole.measured
    assert ran({"rounds": 3, "local_epochs": 2})[1].model_sha256 != result.model_sha256


def test_noise_is_another_one_where_anything_else_differs() -> None:
    info = setting_of(private()).info
    seeds = {private_seed(made, info) for made in (private(), private({"cohort": 6}), private(seed=1))}
    assert len(seeds) == 3


def test_rounds_in_which_nobody_is_drawn_are_steps_of_noise() -> None:
    """Two examples, each drawn in two steps with a chance of a half: in a round of 16 it is neither."""
    made = private({"batch_size": 1, "clients": 3, "cohort": 3, **IID}, data={"name": "digits", "limit": 7})
    setting = setting_of(made)
    local = local_training(setting, traits(strategy_of(setting)))
    trainer, sizes = make_trainer(setting, strategy_of(setting)), setting.population.sizes
    client, size = int(sizes.argmin()), int(sizes.min())
    assert size == 2
    assert local.private is not None
    drawn = local.private.on(trainer.flat.module).draws  # type: ignore[attr-defined]
    empty = [
        number
        for number in range(1, 60)
        if not any(map(len, drawn(size, num_steps=local.num_steps(size), path=("client", number, client))))
    ]
    assert empty
    for number in (1, empty[0]):
        update = trainer.train(begun(setting, number), client, state={})
        assert math.isfinite(update.loss) and update.loss > 0
        assert float(update.delta.norm()) > 0
        assert update.num_steps == local.num_steps(size)
