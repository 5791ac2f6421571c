"""Runs federated experiments of a JSON file on the cluster of RAY_ADDRESS; a line says what came of each.

What sites send is kept in payloads.bin, as it arrives.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nnray
from nnray.config import parse
from nnray.errors import NnrayError
from nnray.runners.federated import sites
from nnray.runners.federated.egress import Payload, Schema, from_bytes


def keep(sealed: bytes, schema: Schema) -> Payload:
    with Path("payloads.bin").open("ab") as file:
        file.write(len(sealed).to_bytes(8, "little") + sealed)
    return from_bytes(sealed, schema)


def node_of() -> dict[str, str]:
    """The node that carries each custom resource."""
    import ray

    found = ray.nodes() if ray.is_initialized() else []
    return {name: node["NodeID"] for node in found for name in node["Resources"] if name.islower()}


def went(experiment: dict[str, Any]) -> dict[str, Any]:
    try:
        result = nnray.federate(parse(experiment))
    except NnrayError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    metrics = {name: value for name, value in result.metrics.items() if "seconds" not in name}
    history = (result.folder / "history.jsonl").read_text()
    return {
        "sha256": result.model_sha256,
        "metrics": metrics,
        "faults": list(result.faults),
        "failures": [failure for line in history.splitlines() for failure in json.loads(line)["failures"]],
        "run": result.folder.name,
    }


if __name__ == "__main__":
    sites.from_bytes = keep  # type: ignore[attr-defined]
    for made in json.loads(Path(sys.argv[1]).read_text()):
        print("RESULT", json.dumps(went(made)), flush=True)
    import ray

    ray.init(logging_level="ERROR", log_to_driver=False)
    print("NODES", json.dumps(node_of()), flush=True)
