"""Runs federated experiments of a JSON file on the cluster of RAY_ADDRESS; a line says what came of each.

Where the file names none, it goes on with the newest run. What sites send is kept in payloads.bin, as it
arrives.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
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


def begun(experiment: dict[str, Any]) -> Any:
    return nnray.federate(parse(experiment))


def went(begin: Callable[[], Any]) -> dict[str, Any]:
    try:
        result = begin()
    except NnrayError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    metrics = {name: value for name, value in result.metrics.items() if "seconds" not in name}
    history = [json.loads(line) for line in (result.folder / "history.jsonl").read_text().splitlines()]
    return {
        "sha256": result.model_sha256,
        "metrics": metrics,
        "faults": list(result.faults),
        "rounds": [line["round"] for line in history],
        "failures": [failure for line in history for failure in line["failures"]],
        "run": result.folder.name,
    }


if __name__ == "__main__":
    sites.from_bytes = keep  # type: ignore[attr-defined]
    made = json.loads(Path(sys.argv[1]).read_text())
    for begin in [partial(begun, each) for each in made] or [nnray.resume]:
        print("RESULT", json.dumps(went(begin)), flush=True)
    import ray

    ray.init(logging_level="ERROR", log_to_driver=False)
    print("NODES", json.dumps(node_of()), flush=True)
