"""Clients side by side: the same as one by one within 1e-5, in the same blocks whoever computes them."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.assembly import load_data
from nnray.catalog import CATALOG
from nnray.config import Experiment
from nnray.errors import ConfigError, IncompatibleModel
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.strategy import Strategy, traits
from nnray.runners.federated.setting import Setting, first_weights, make_setting, make_strategy
from nnray.runners.federated.stacking import Cutter, decide
from nnray.runners.federated.worker import Worker
from tests.unit.runners.federated.small import FAULTS, Ran, Told, experiment, ran

CLIENTS = {"clients": 20, "cohort": 20, "partition": {"name": "quantity_lognormal", "min_size": 3}}
PLAIN = {"name": "mlp", "hidden": [8]}


def small(federated: dict[str, Any] | None = None, **fields: Any) -> Experiment:
    """A model and a cohort that may be stacked; sizes are skewed, so that steps differ."""
    return experiment(
        {**CLIENTS, "stacked": True, **(federated or {})}, **{"model": PLAIN, "data": DATA, **fields}
    )


DATA = {"name": "digits", "limit": 400}


def setting(made: Experiment) -> Setting:
    return decide(make_setting(made, load_data(made)))


def stackable(name: str) -> bool:
    try:
        made = small({"strategy": name} | ({"server_optimizer": "sgd"} if name == "fedopt" else {}))
    except ConfigError:  # it has stages, or no cohorts, or nothing that clients send
        return False
    strategy: Strategy = make_strategy(made)
    return not (strategy.needs_start_loss or traits(strategy).is_staged)


STRATEGIES = [name for name in CATALOG["strategy"] if stackable(name)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_every_strategy_comes_to_what_it_comes_to_one_by_one(strategy: str, momentum: float) -> None:
    options: dict[str, Any] = {"strategy": strategy, "rounds": 3, "local_epochs": 2}
    if strategy == "fedopt":
        options["server_optimizer"] = {"name": "sgd", "lr": 1.0, "momentum": 0.9}
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": momentum}
    side, one = (
        ran({**CLIENTS, **options, "stacked": stacked}, model=PLAIN, data=DATA, optimizer=optimizer)[0]
        for stacked in (True, False)
    )
    for a, b in zip(side.measured, one.measured, strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)


def test_blocks_follow_the_cohort_and_its_order_does_not_matter() -> None:
    made = setting(small())
    cut = Cutter(made)
    blocks = cut(range(20))
    assert cut(list(reversed(range(20)))) == blocks
    assert sorted(client for block in blocks for client in block) == list(range(20))
    assert len(blocks) > 1
    steps = [{len(made.population.of(client)) for client in block} for block in blocks]
    assert all(len({-(-size // 10) for size in sizes}) == 1 for sizes in steps)


def outcome(made: Setting, blocks: list[tuple[int, ...]]) -> Outcome:
    start = RoundStart(round=1, weights=first_weights(made), room=20)
    return Worker(made).train(start, blocks, {})


def test_the_bits_don_t_depend_on_who_computes_which_block() -> None:
    made = setting(small())
    blocks = Cutter(made)(range(20))
    whole = outcome(made, blocks)
    cut = outcome(made, blocks[1::2]) + outcome(made, blocks[::2])
    for name, value in whole.sums.vectors.items():
        assert value.total.tolist() == cut.sums.vectors[name].total.tolist()
        assert value.weight == cut.sums.vectors[name].weight
    assert whole.sums.numbers == cut.sums.numbers


def test_what_is_sent_is_counted_as_one_by_one() -> None:
    side, one = (setting(small({"stacked": stacked})) for stacked in (True, False))
    a, b = (outcome(made, Cutter(made)(range(20))) for made in (side, one))
    assert a.bytes_up == b.bytes_up
    assert a.sums.count == b.sums.count == 20
    assert {n: v.weight for n, v in a.sums.vectors.items()} == {
        n: v.weight for n, v in b.sums.vectors.items()
    }
    key = lambda report: report.client  # noqa: E731 (as short as what it is for)
    for mine, theirs in zip(sorted(a.reports, key=key), sorted(b.reports, key=key), strict=True):
        assert (mine.client, mine.num_examples, mine.num_steps) == (
            theirs.client,
            theirs.num_examples,
            theirs.num_steps,
        )
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-5)


@pytest.mark.parametrize("how", ["raise", "nan", "shape"])
def test_a_client_that_fails_in_a_block_is_named_alone(how: str) -> None:
    broken = {"name": f"{FAULTS}breaks", "how": how, "clients": [4, 7]}
    made = setting(small({"strategy": broken}))
    found = outcome(made, Cutter(made)(range(20)))
    assert sorted(failed.client for failed in found.failures) == [4, 7]
    assert found.sums.count == 18


def test_a_client_whose_loss_is_not_finite_is_left_out() -> None:
    side, one = (
        ran(
            {**CLIENTS, "stacked": stacked, "on_client_error": "drop", "rounds": 2, "local_epochs": 6},
            model=PLAIN,
            data=DATA,
            optimizer={"name": "sgd", "lr": 3e4},
        )
        for stacked in (True, False)
    )
    named = [sorted(f["client"] for f in run.history[0].failures) for run, _ in (side, one)]
    assert named[0] == named[1]


def test_an_interrupted_run_goes_on_with_the_same_bits() -> None:
    made = small({"rounds": 4})
    whole = Ran(made)
    expected = whole.go()
    run = Ran(made)
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=2))
    assert run.go().model_sha256 == expected.model_sha256


def test_auto_stacks_small_models_in_large_cohorts() -> None:
    def chosen(**fields: Any) -> bool:
        return setting(small({"stacked": "auto", **fields.pop("federated", {})}, **fields)).stacked

    assert chosen()
    assert not chosen(federated={"cohort": 4})
    assert not chosen(model={"name": "mlp", "hidden": [8], "dropout": 0.5})
    assert not chosen(model={"name": "simple_cnn"})
    assert not chosen(training={"batch_size": 10, "l1": 1e-4})
    assert not chosen(federated={"strategy": "qfedavg"})
    wide = {"name": "mlp", "hidden": [512]}
    assert chosen(model=wide)
    assert not chosen(model=wide, federated={"local_epochs": 50})


@pytest.mark.parametrize(
    ("federated", "fields", "words"),
    [
        ({}, {"training": {"batch_size": 10, "l1": 1e-4}}, "is not possible with training.l1"),
        ({"strategy": "local"}, {}, "each client has weights of its own"),
        ({"deadline_s": 5.0, "workers": 1}, {}, "federated.deadline_s"),
    ],
)
def test_what_rules_it_out_is_named(federated: dict[str, Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"federated\.stacked.*{words}"):
        setting(small(federated, **fields))


def test_a_model_that_can_t_be_stacked_is_named_with_its_reasons() -> None:
    with pytest.raises(IncompatibleModel, match=r"(?s)Dropout.*set federated.stacked to false"):
        setting(small(model={"name": "mlp", "hidden": [8], "dropout": 0.5}))
