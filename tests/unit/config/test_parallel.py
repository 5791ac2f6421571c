"""The section on training by several processes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from nnray.config import (
    Experiment,
    ParallelConfig,
    dump,
    flatten,
    json_schema,
    override,
    parse,
    with_overrides,
)
from nnray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": "tiny", "model": "mlp"}
SWEEP = {"space": {"model.dropout": {"uniform": [0, 0.5]}}}


def problems_of(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(BASE | sections)
    return [str(problem) for problem in caught.value.problems]


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert parse(BASE).parallel is None
    assert "parallel" not in yaml.safe_load(dump(parse(BASE)))
    assert not [path for path in flatten(parse(BASE)) if path.startswith("parallel")]


def test_one_value_on_the_command_line_makes_the_section() -> None:
    made = override(parse(BASE), ["parallel.workers=2"])
    assert made.parallel == ParallelConfig(workers=2)
    assert made == parse(BASE | {"parallel": {"workers": 2}})
    assert with_overrides(made, {"parallel.workers": 4}).parallel == ParallelConfig(workers=4)


@pytest.mark.parametrize(
    "parallel",
    [
        {},
        {"workers": 3, "min_workers": 2, "cpus_per_worker": 0.5, "gpus_per_worker": 1},
        {"batch": "per_worker", "lr_scaling": "sqrt", "strategy": "fsdp", "sync_batch_norm": True},
        {"max_failures": 0, "timeout_s": 5, "storage": "s3://bucket/runs"},
    ],
)
def test_written_and_read_again_it_is_the_same(parallel: dict[str, Any]) -> None:
    made = parse(BASE | {"parallel": parallel})
    assert parse(yaml.safe_load(dump(made))) == made


@pytest.mark.parametrize(
    ("parallel", "expected"),
    [
        ({"workers": 0}, "parallel.workers: must be an integer above 0 (got 0)"),
        ({"workers": 2.0}, "parallel.workers: must be an integer above 0 (got 2.0)"),
        ({"worker": 2}, "parallel.worker: unknown key; did you mean 'workers'?"),
        (
            {"workers": 2, "min_workers": 3},
            "parallel.min_workers: must be at most parallel.workers, which is 2 (got 3)",
        ),
        (
            {"workers": 2, "min_workers": 0},
            "parallel.min_workers: must be an integer above 0 or null (got 0)",
        ),
        ({"cpus_per_worker": 0}, "parallel.cpus_per_worker: must be a finite number above 0 (got 0)"),
        ({"gpus_per_worker": -1}, "parallel.gpus_per_worker: must be a finite number at least 0 (got -1)"),
        ({"batch": "perworker"}, "did you mean 'per_worker'?"),
        ({"lr_scaling": "linear"}, "parallel.lr_scaling: 'linear' needs parallel.batch: per_worker"),
        ({"batch": "global", "lr_scaling": "sqrt"}, "'sqrt' needs parallel.batch: per_worker"),
        ({"strategy": "dpp"}, "must be one of ddp, fsdp (got 'dpp'); did you mean 'ddp'?"),
        ({"timeout_s": 0}, "parallel.timeout_s: must be a finite number above 0 (got 0)"),
        ({"max_failures": -1}, "parallel.max_failures: must be an integer at least 0 (got -1)"),
        ({"storage": ""}, "parallel.storage: must be text that is not empty"),
    ],
)
def test_each_mistake_has_one_clear_message(parallel: dict[str, Any], expected: str) -> None:
    (found,) = problems_of(parallel=parallel)
    assert expected in found


def test_a_sweep_with_the_defaults_written_out_is_no_contradiction() -> None:
    made = parse(BASE | {"parallel": {"workers": 2}, "sweep": SWEEP})
    assert parse(yaml.safe_load(dump(made))) == made


def test_a_sweep_may_try_what_is_in_it() -> None:
    space = {"parallel.sync_batch_norm": {"choice": [True, False]}}
    assert isinstance(parse(BASE | {"parallel": {"workers": 2}, "sweep": {"space": space}}), Experiment)


def test_the_schema_has_every_key_with_its_help() -> None:
    schema = json_schema()["$defs"]["ParallelConfig"]
    assert set(schema["properties"]) == set(ParallelConfig.model_fields)
    assert all(value.get("description") for value in schema["properties"].values())
    assert schema["additionalProperties"] is False
