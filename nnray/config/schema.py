"""The JSON schema of an experiment file, for editors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from nnray.config.experiment import Experiment
from nnray.config.federated import FederatedConfig
from nnray.config.federated_parts import AsynchronousConfig, AttackConfig, SecureConfig, TargetConfig
from nnray.config.privacy import PrivacyConfig
from nnray.config.ranges import Range
from nnray.config.sections import EarlyStopping, ParallelConfig, SweepConfig, TrackingConfig, TrainingConfig
from nnray.registry import read_help

_SECTIONS = (
    AsynchronousConfig,
    AttackConfig,
    EarlyStopping,
    FederatedConfig,
    ParallelConfig,
    PrivacyConfig,
    Range,
    SecureConfig,
    SweepConfig,
    TargetConfig,
    TrackingConfig,
    TrainingConfig,
)


def json_schema() -> dict[str, Any]:
    """What an experiment file may hold; every plug-in with its keys, as its signature says."""
    schema = Experiment.model_json_schema()
    _explain(schema, Experiment)
    for section in _SECTIONS:
        _explain(schema["$defs"].get(section.__name__, {}), section)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _explain(schema: dict[str, Any], section: type[BaseModel]) -> None:
    """Put the help of a section's docstring where an editor shows it."""
    text = inspect.getdoc(section) or ""
    schema["description"] = text.partition("\n")[0]
    properties: Mapping[str, dict[str, Any]] = schema.get("properties", {})
    for name, explained in read_help(text).items():
        if name in properties:
            properties[name]["description"] = explained
