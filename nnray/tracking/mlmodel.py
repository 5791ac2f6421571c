"""The files around a model's graph, as MLflow's own ``save_model`` writes them, without importing it.

MLflow takes seconds to import, and only the process that talks to the store needs it. The format is
documented ("MLflow Model" in its manual); loading what stands here through ``mlflow.pyfunc`` is tested.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DATA = "data"
GRAPH = Path(_DATA) / "model.pt2"
_EXAMPLE, _SERVING = "input_example.json", "serving_input_example.json"
_CONDA, _VIRTUALENV, _REQUIREMENTS = "conda.yaml", "python_env.yaml", "requirements.txt"


def write_description(
    folder: Path, *, example: NDArray[np.float32], output_shape: tuple[int, ...], has_graph: bool = True
) -> None:
    """Write all files of a model but its graph, which is there already.

    Args:
        folder: Of the model.
        example: Inputs, with the batch dimension first.
        output_shape: Of the model's outputs, without the batch dimension.
        has_graph: Whether MLflow can load the model by itself.
    """
    inputs = example.tolist()
    (folder / _EXAMPLE).write_text(json.dumps(inputs))
    (folder / _SERVING).write_text(json.dumps({"inputs": inputs}, indent=2))
    _write_environment(folder)
    signature = {
        "inputs": _tensor(example.shape[1:], str(example.dtype)),
        "outputs": _tensor(output_shape),
        "params": None,
    }
    described = {
        "flavors": _flavors() if has_graph else {"nnray": {"format": "safetensors"}},
        "is_signature_from_type_hint": False,
        "mlflow_version": importlib.metadata.version("mlflow"),
        "model_size_bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "prompts": None,
        "saved_input_example_info": {
            "artifact_path": _EXAMPLE,
            "serving_input_path": _SERVING,
            "type": "ndarray",
        },
        "signature": signature,
        "type_hint_from_example": False,
    }
    _write(folder, described)


def fill_in(folder: Path, *, model_id: str, run_id: str, location: str) -> None:
    """Write the store's ids into the description of a model, in one step."""
    described = yaml.safe_load((folder / "MLmodel").read_text())
    ids: dict[str, Any] = {"model_uuid": model_id, "model_id": model_id, "run_id": run_id}
    ids["artifact_path"] = location
    ids["model_size_bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    ids["utc_time_created"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"
    _write(folder, described | ids)


@cache
def requirements() -> tuple[str, ...]:
    """What loading a model takes, pinned to what is installed."""
    return tuple(f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "torch", "numpy"))


def _write(folder: Path, described: dict[str, Any]) -> None:
    aside = folder / ".MLmodel.tmp"
    aside.write_text(yaml.safe_dump(described))
    aside.replace(folder / "MLmodel")


def _tensor(shape: tuple[int, ...], dtype: str = "float32") -> str:
    return json.dumps([{"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": [-1, *shape]}}])


def _flavors() -> dict[str, Any]:
    import torch

    function = {
        "config": {"device": None},
        "data": _DATA,
        "env": {"conda": _CONDA, "virtualenv": _VIRTUALENV},
        "loader_module": "mlflow.pytorch",
        "pickle_module_name": "mlflow.pytorch.pickle_module",
        "python_version": platform.python_version(),
    }
    network = {"code": None, "model_data": _DATA, "pytorch_version": str(torch.__version__)}
    return {"python_function": function, "pytorch": network}


def _write_environment(folder: Path) -> None:
    python, needed = platform.python_version(), list(requirements())
    (folder / _REQUIREMENTS).write_text("\n".join(needed))
    dependencies = [f"python={python}", "pip", {"pip": needed}]
    conda = {"channels": ["conda-forge"], "dependencies": dependencies, "name": "mlflow-env"}
    virtualenv = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": [f"-r {_REQUIREMENTS}"],
    }
    (folder / _CONDA).write_text(yaml.safe_dump(conda, sort_keys=False))
    (folder / _VIRTUALENV).write_text(yaml.safe_dump(virtualenv, sort_keys=False))
