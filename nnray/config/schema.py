"""The JSON schema of an experiment file, for editors."""

from __future__ import annotations

from typing import Any

from nnray.config.experiment import Experiment


def json_schema() -> dict[str, Any]:
    """What an experiment file may hold; every plug-in with its keys, as its signature says."""
    schema = Experiment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
