"""The section on differential privacy, before it stands in an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import nnray
from nnray.config import parse, require_examples_private
from nnray.config.privacy import PrivacyConfig
from nnray.errors import ConfigError

CLIENT: dict[str, Any] = {"unit": "client", "epsilon": 2.0, "delta": 1e-5}
EXAMPLE: dict[str, Any] = {"unit": "example", "noise_multiplier": 1.1, "delta": 1e-5}


def problems_of(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        PrivacyConfig.model_validate(given)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


@pytest.mark.parametrize(
    "given",
    [
        CLIENT,
        EXAMPLE,
        EXAMPLE | {"epsilon": 3.0},
        EXAMPLE | {"replace_modules": True, "physical_batch_size": 64, "metrics": "withheld"},
        CLIENT | {"clipping": "adaptive", "quantile": 0.4, "noise_at": "clients"},
        CLIENT | {"clipping": "per_layer", "accountant": "rdp"},
        CLIENT | {"mechanism": "tree", "restart_every": 16, "max_participations": 2},
    ],
)
def test_what_goes_together_is_taken(given: dict[str, Any]) -> None:
    made = PrivacyConfig.model_validate(given)
    assert {key: getattr(made, key) for key in given} == given


def test_one_of_epsilon_and_noise_is_needed() -> None:
    found = problems_of({"unit": "client", "delta": 1e-5})
    assert list(found) == ["noise_multiplier"]
    assert "is missing, and so is privacy.epsilon" in found["noise_multiplier"]


def test_a_wrong_epsilon_is_told_alone() -> None:
    assert list(problems_of({"unit": "client", "delta": 1e-5, "epsilon": -1.0})) == ["epsilon"]


@pytest.mark.parametrize("key", ["unit", "delta"])
def test_who_is_protected_and_how_surely_must_be_said(key: str) -> None:
    assert list(problems_of({name: value for name, value in CLIENT.items() if name != key})) == [key]


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        (CLIENT | {"delta": 0.0}, "delta", "above 0 and below 1, such as 1e-5 (got 0.0)"),
        (CLIENT | {"delta": 1.0}, "delta", "above 0 and below 1, such as 1e-5 (got 1.0)"),
        (CLIENT | {"delta": float("nan")}, "delta", "above 0 and below 1"),
        (CLIENT | {"clip_norm": 0.0}, "clip_norm", "greater than 0"),
        (CLIENT | {"clip_norm": float("inf")}, "clip_norm", "finite"),
        (CLIENT | {"noise_multiplier": 0.0}, "noise_multiplier", "greater than 0"),
        (CLIENT | {"quantile": 0.5}, "quantile", "is of adaptive clipping"),
        (CLIENT | {"clipping": "adaptive", "quantile": 1.0}, "quantile", "below 1 (got 1.0)"),
        (CLIENT | {"restart_every": 5}, "restart_every", "is of mechanism: tree"),
        (CLIENT | {"max_participations": 5}, "max_participations", "is of mechanism: tree"),
        (CLIENT | {"physical_batch_size": 5}, "physical_batch_size", "is of unit: example"),
        (CLIENT | {"clipping": "adaptive", "mechanism": "tree"}, "mechanism", "can't be 'tree'"),
        (CLIENT | {"mechanism": "tree", "noise_at": "clients"}, "noise_at", "take noise_at: server"),
        (EXAMPLE | {"clipping": "adaptive"}, "clipping", "can only be 'flat'"),
        (EXAMPLE | {"clipping": "per_layer"}, "clipping", "can only be 'flat'"),
        (EXAMPLE | {"mechanism": "tree"}, "mechanism", "can only be 'gaussian'"),
        (EXAMPLE | {"noise_at": "clients"}, "noise_at", "can only be 'server'"),
        (CLIENT | {"accountant": "moments"}, "accountant", "'rdp' or 'pld'"),
        (CLIENT | {"max_grad_norm": 1.0}, "max_grad_norm", "Extra inputs"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(given: dict[str, Any], key: str, message: str) -> None:
    found = problems_of(given)
    assert list(found) == [key]
    assert message in found[key]


def test_privacy_of_clients_is_not_for_training_in_one_place(tmp_path: Path) -> None:
    values = {"name": "digits", "data": {"name": "digits"}, "model": {"name": "mlp"}}
    found = {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-3}
    parts = {"optimizer": {"name": "sgd", "lr": 0.1}, "tracking": {"dir": str(tmp_path)}}
    made = parse(
        {**values, **parts, "privacy": found, "sweep": {"space": {"optimizer.lr": {"uniform": [0.1, 0.2]}}}}
    )
    for verb in (nnray.train, nnray.sweep):
        with pytest.raises(ConfigError, match=r"privacy.unit: is 'client'.* run nnray federate"):
            verb(made)
    assert list(tmp_path.iterdir()) == []
    require_examples_private(parse({**values, **parts}))
    require_examples_private(parse({**values, **parts, "privacy": {**found, "unit": "example"}}))
