"""The section on federated training."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from nnray.config import (
    Experiment,
    FederatedConfig,
    TargetConfig,
    dump,
    flatten,
    json_schema,
    override,
    parse,
    require_federated,
    require_validation,
    with_overrides,
)
from nnray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": "tiny", "model": "mlp"}
NO_VALIDATION = {"data": {"name": "tiny", "validation": 0}}


def federated(**keys: Any) -> FederatedConfig:
    made = parse(BASE | {"federated": {"clients": 100} | keys}).federated
    assert made is not None
    return made


def problems_of(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(BASE | sections)
    return [str(problem) for problem in caught.value.problems]


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert parse(BASE).federated is None
    assert "federated" not in yaml.safe_load(dump(parse(BASE)))
    assert not [path for path in flatten(parse(BASE)) if path.startswith("federated")]


def test_a_number_of_clients_is_all_that_is_needed() -> None:
    made = federated()
    assert (made.partition.name, made.sampler.name, made.strategy.name) == ("iid", "uniform", "fedavg")
    assert made.strategy.kwargs == {"weighting": "examples"}
    assert (made.rounds, made.local_epochs, made.local_steps, made.batch_size) == (100, None, None, None)


def test_values_on_the_command_line_make_the_section() -> None:
    made = override(parse(BASE), ["federated.clients=10", "federated.strategy=fedopt"])
    assert made == parse(BASE | {"federated": {"clients": 10, "strategy": {"name": "fedopt"}}})
    changed = with_overrides(made, {"federated.strategy.tau": 0.1, "federated.clients": 4}).federated
    assert changed is not None
    assert (changed.clients, changed.strategy.kwargs) == (4, {"tau": 0.1})


def test_the_optimizer_of_the_server_is_set_like_any_component() -> None:
    base = BASE | {"federated": {"clients": 9, "strategy": "fedopt", "server_optimizer": "sgd"}}
    made = override(parse(base), ["federated.server_optimizer.lr=0.5"]).federated
    assert made is not None
    assert made.server_optimizer is not None
    assert made.server_optimizer.kwargs == {"lr": 0.5, "momentum": 0.0}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"partition": {"name": "iid", "min_size": 3}, "rounds": 5, "cohort": 10, "over_select": 90},
        {"partition": "natural", "clients": None, "cohort": 12, "min_updates": 12},
        {"fraction_fit": 0.1, "min_updates": 10, "local_epochs": 5, "batch_size": "all"},
        {"fraction_fit": 1, "local_steps": 20, "batch_size": 10, "workers": 0, "stacked": False},
        {"strategy": "fedopt", "server_optimizer": {"name": "adam", "lr": 0.1}, "workers": 3},
        {"sampler": "poisson", "cohort": 3, "holdout": 0.5, "deadline_s": 2.5, "on_client_error": "drop"},
        {"target": {"value": 0.97}, "evaluate_every": 2, "checkpoint_every": 3, "gpus_per_worker": 0.25},
        {"target": {"metric": "val_loss", "value": 1, "stop": True}, "stacked": True},
    ],
)
def test_written_and_read_again_it_is_the_same(keys: dict[str, Any]) -> None:
    made = parse(BASE | {"federated": {"clients": 100} | keys})
    assert parse(yaml.safe_load(dump(made))) == made


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"clients": 0}, "federated.clients: must be an integer above 0 or null (got 0)"),
        ({"clients": None}, "federated.clients: is missing: partition 'iid' needs a number of clients"),
        ({"clients": None}, "a partition with clients of its own is: natural"),
        ({"partition": "idi"}, "no partition 'idi'; did you mean 'iid'"),
        ({"partition": {"name": "iid", "min_size": 0}}, "partition.min_size: must be an integer above 0"),
        ({"partition": {"name": "natural", "groups": 3}}, "groups: is given by nnray at run time"),
        ({"rounds": 0}, "federated.rounds: must be an integer above 0 (got 0)"),
        ({"cohort": 101}, "federated.cohort: must be at most federated.clients, which is 100 (got 101)"),
        ({"cohort": 10, "fraction_fit": 0.1}, "federated.fraction_fit: and cohort both say how many train"),
        ({"fraction_fit": 0}, "federated.fraction_fit: must be a number above 0 and at most 1 (got 0"),
        ({"fraction_fit": 1.5}, "must be a number above 0 and at most 1 (got 1.5)"),
        ({"fraction_fit": 0.004}, "federated.fraction_fit: of 100 clients is nobody: take at least 0.01"),
        ({"local_epochs": 2, "local_steps": 3}, "federated.local_steps: and local_epochs both say how long"),
        ({"local_epochs": 0}, "federated.local_epochs: must be an integer above 0 or null (got 0)"),
        ({"batch_size": "al"}, "federated.batch_size: must be an integer above 0 or all or null (got 'al')"),
        ({"batch_size": 0}, "federated.batch_size: must be an integer above 0 or all or null (got 0)"),
        ({"strategy": "fedag"}, "federated.strategy.name: no strategy 'fedag'; did you mean 'fedavg'"),
        (
            {"server_optimizer": "sgd"},
            "server_optimizer: is not used by strategy 'fedavg': leave it out, or take one of fedopt",
        ),
        (
            {"strategy": "fedopt", "server_optimizer": {"name": "sgd", "lr": 0}},
            "federated.server_optimizer.lr: must be",
        ),
        ({"workers": -1}, "federated.workers: must be an integer at least 0 or null (got -1)"),
        ({"workers": 1.0}, "federated.workers: must be an integer at least 0 or null (got 1.0)"),
        ({"cpus_per_worker": 0}, "federated.cpus_per_worker: must be a finite number above 0 (got 0)"),
        ({"holdout": 1}, "federated.holdout: must be a number at least 0 and below 1 (got 1)"),
        ({"on_client_error": "ignore"}, "must be one of retry, drop, fail (got 'ignore')"),
        ({"cohort": 5, "min_updates": 6}, "federated.min_updates: must be at most the cohort, which is 5"),
        ({"min_updates": 101}, "federated.min_updates: must be at most the cohort, which is 100 (got 101)"),
        ({"deadline_s": 0}, "federated.deadline_s: must be a finite number above 0 or null (got 0)"),
        (
            {"sampler": "poisson", "cohort": 5, "over_select": 1},
            "over_select: needs a sampler that gives spare clients, such as uniform (got 'poisson')",
        ),
        ({"over_select": 1}, "federated.over_select: must be at most 0, the clients beside the cohort"),
        ({"cohort": 98, "over_select": 3}, "must be at most 2, the clients beside the cohort (got 3)"),
        ({"target": {}}, "federated.target.value: is missing"),
        ({"target": {"metric": "acc", "value": 1}}, "federated.target.metric: must be a metric of a round"),
        ({"target": {"value": float("nan")}}, "federated.target.value: must be a finite number"),
        ({"stacked": "yes"}, "federated.stacked: must be auto or true or false (got 'yes')"),
        ({"client": 3}, "federated.client: unknown key; did you mean 'clients'"),
    ],
)
def test_each_mistake_has_one_clear_message(keys: dict[str, Any], expected: str) -> None:
    (found,) = problems_of(federated={"clients": 100} | keys)
    assert expected in found


def test_all_mistakes_are_told_at_once() -> None:
    wrong = {"clients": 10, "cohort": 11, "local_epochs": 1, "local_steps": 1, "workers": -1}
    found = problems_of(federated=wrong, model="mpl")
    assert [problem.split(":")[0] for problem in found] == [
        "model.name",
        "federated.cohort",
        "federated.local_steps",
        "federated.workers",
    ]


def test_the_cohort_is_a_number_a_share_or_everyone() -> None:
    assert federated().cohort_of(100) == 100
    assert federated(cohort=7).cohort_of(100) == 7
    assert federated(fraction_fit=0.29).cohort_of(100) == 29
    assert federated(fraction_fit=1).cohort_of(3) == 3


def test_a_cohort_larger_than_the_clients_there_turn_out_to_be_is_refused() -> None:
    made = parse(BASE | {"federated": {"partition": "natural", "cohort": 12}}).federated
    assert made is not None
    assert made.cohort_of(12) == 12
    with pytest.raises(ConfigError, match=r"federated.cohort: must be at most .* which is 4 \(got 12\)"):
        made.cohort_of(4)
    with pytest.raises(ConfigError, match=r"federated.fraction_fit: of 4 clients is nobody"):
        federated(fraction_fit=0.1).cohort_of(4)


def test_no_validation_split_is_for_federated_runs_alone() -> None:
    (found,) = problems_of(**NO_VALIDATION)
    assert "data.validation: must be a fraction above 0 and below 1" in found
    assert found.endswith("(got 0); 0 needs a federated section")
    made = parse(BASE | NO_VALIDATION | {"federated": {"clients": 3}})
    assert made.data.validation == 0
    require_federated(made)
    with pytest.raises(ConfigError, match=r"data.validation: is 0, which only federate can do without"):
        require_validation(made)
    require_validation(parse(BASE))


def test_no_validation_is_told_beside_other_mistakes() -> None:
    found = problems_of(**NO_VALIDATION, seed=-1)
    assert [problem.split(":")[0] for problem in found] == ["seed", "data.validation"]


def test_a_target_on_a_split_that_is_not_there_is_refused() -> None:
    section = {"clients": 3, "target": {"metric": "val_accuracy", "value": 0.9}}
    (found,) = problems_of(**NO_VALIDATION, federated=section)
    assert found.startswith("federated.target.metric: is measured on a validation split")
    assert isinstance(parse(BASE | {"federated": section}), Experiment)


def test_to_federate_takes_a_section_and_data_in_memory() -> None:
    with pytest.raises(ConfigError, match=r"federated: is missing: say who trains, such as federated: {"):
        require_federated(parse(BASE))
    streamed = BASE | {"data": {"name": "tiny", "stream": True}, "federated": {"clients": 2}}
    with pytest.raises(ConfigError, match=r"data.stream: clients' examples are drawn by their number"):
        require_federated(parse(streamed))
    wrong = {"ema_decay": 0.9, "early_stopping": {}, "precision": "bf16", "accumulate": 2, "compile": True}
    wrong |= {"length_buckets": 50}
    with pytest.raises(ConfigError) as caught:
        require_federated(parse(BASE | {"training": wrong, "federated": {"clients": 2}}))
    assert {problem.path for problem in caught.value.problems} == {f"training.{name}" for name in wrong}
    for text in ("precision: is for train alone (got 'bf16'): set training.precision=fp32", "ema_decay=null"):
        assert text in str(caught.value)
    assert require_federated(parse(BASE | {"federated": {"clients": 2}})).clients == 2


def test_all_sections_may_stand_in_one_file() -> None:
    space = {
        "federated.local_epochs": {"int": [1, 5]},
        "federated.strategy.weighting": {"choice": ["uniform"]},
    }
    sections = {"federated": {"clients": 5}, "parallel": {"workers": 2}, "sweep": {"space": space}}
    made = parse(BASE | sections)
    assert made.federated is not None
    assert made.parallel is not None
    tried = with_overrides(made, {"federated.local_epochs": 3, "federated.strategy.weighting": "uniform"})
    assert tried.federated is not None
    assert (tried.federated.local_epochs, tried.federated.strategy.kwargs) == (3, {"weighting": "uniform"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("federated.strategy.mu", "strategy 'fedavg' has no 'mu'"),
        ("federated.round", "federated has no 'round'; did you mean 'rounds'"),
        ("federated.server_optimizer.lr", "there is no federated.server_optimizer"),
    ],
)
def test_a_sweep_over_what_is_not_there_is_refused(path: str, expected: str) -> None:
    space = {path: {"uniform": [0.1, 1]}}
    (found,) = problems_of(federated={"clients": 5}, sweep={"space": space})
    assert expected in found


def test_a_sweep_may_try_the_optimizer_of_the_server() -> None:
    section = {"clients": 5, "strategy": "fedopt", "server_optimizer": "sgd"}
    space = {"federated.server_optimizer.lr": {"loguniform": [0.1, 1]}}
    made = parse(BASE | {"federated": section, "sweep": {"space": space}})
    changed = with_overrides(made, {"federated.server_optimizer.lr": 0.3}).federated
    assert changed is not None
    assert changed.server_optimizer is not None
    assert changed.server_optimizer.kwargs["lr"] == 0.3


@pytest.mark.parametrize("section", [FederatedConfig, TargetConfig])
def test_the_schema_has_every_key_with_its_help(section: type[FederatedConfig | TargetConfig]) -> None:
    schema = json_schema()["$defs"][section.__name__]
    assert set(schema["properties"]) == set(section.model_fields)
    assert all(value.get("description") for value in schema["properties"].values())
    assert schema["additionalProperties"] is False
