from __future__ import annotations

import json
from typing import Any

import pytest

from nnray.config import json_schema

pytestmark = pytest.mark.usefixtures("fakes")


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def alternatives(kind: str) -> dict[str, dict[str, Any]]:
    schema = json_schema()
    options = resolved(schema, schema["properties"][kind])["anyOf"]
    return {option["title"]: option for option in options if "title" in option}


def test_it_is_json_and_names_every_section() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert list(schema["properties"])[:4] == ["name", "seed", "task", "data"]
    assert schema["required"] == ["name", "data", "model"]
    assert schema["additionalProperties"] is False


def test_every_plug_in_is_there_with_its_keys_bounds_and_help() -> None:
    models = alternatives("model")
    assert list(models) == ["mlp", "cnn", "named"]
    mlp = models["mlp"]
    assert mlp["properties"]["name"] == {"const": "mlp"}
    assert mlp["properties"]["dropout"]["exclusiveMaximum"] == 1
    assert mlp["properties"]["dropout"]["description"] == "Share of units silenced."
    assert mlp["properties"]["hidden"]["default"] == [64, 32]
    assert mlp["properties"]["hidden"]["description"] == "Units of each hidden layer, from the input on."
    assert mlp["properties"]["norm"]["enum"] == ["none", "batch", "group"]
    assert mlp["description"] == "A multilayer perceptron."
    assert mlp["additionalProperties"] is False
    assert models["named"]["required"] == ["name", "arch"]


def test_a_data_set_has_its_own_keys_and_those_of_the_section() -> None:
    properties = alternatives("data")["tiny"]["properties"]
    assert properties["limit"]["description"] == "Use only so many training examples, stratified."
    assert set(properties) == {
        "name",
        "classes",
        "root",
        "validation",
        "limit",
        "normalize",
        "augment",
        "stream",
        "buffer_mib",
    }


def test_the_short_form_is_offered_where_no_key_is_required() -> None:
    schema = json_schema()
    short, own, *_ = resolved(schema, schema["properties"]["model"])["anyOf"]
    assert short["enum"] == ["mlp", "cnn"]
    assert own["pattern"].startswith("^")


def test_fields_carry_their_help_and_bounds() -> None:
    schema = json_schema()
    training = schema["$defs"]["TrainingConfig"]
    assert training["properties"]["epochs"]["exclusiveMinimum"] == 0
    assert training["properties"]["epochs"]["description"] == "Passes over the training data."
    assert training["description"] == "How the network is trained."
    assert schema["properties"]["seed"]["description"] == "All random draws derive from it."
    assert {"uniform", "loguniform", "int", "logint", "choice", "step", "when"} == set(
        schema["$defs"]["Range"]["properties"]
    )


def test_what_a_sweep_may_hold_is_there_with_its_help() -> None:
    sweep = json_schema()["$defs"]["SweepConfig"]["properties"]
    assert {"objectives", "constraints", "trials", "target"} <= set(sweep)
    assert {"type": "null"} in sweep["trials"]["anyOf"]
    assert sweep["constraints"]["description"].endswith("such as ``parameters <= 50000``.")
    assert json_schema()["$defs"]["Range"]["properties"]["when"]["type"] == "object"
