"""A network that MLflow stored as a whole, unpickled: only for what its user trusts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import RunError
from nnray.tracking.client import prepare

if TYPE_CHECKING:
    from torch import nn

_SWITCH = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


def load_mlflow_network(folder: Path) -> nn.Module:
    """Load the network of MLflow's PyTorch flavor; this runs whatever its maker put in.

    Raises:
        RunError: It is of another flavor, or can't be loaded.
    """
    prepare()
    import mlflow.pytorch

    before = os.environ.get(_SWITCH)
    os.environ[_SWITCH] = "true"
    try:
        network: nn.Module = mlflow.pytorch.load_model(str(folder), map_location="cpu")
    except Exception as error:
        raise RunError(f"{folder}: MLflow can't load a PyTorch network from it: {error}") from error
    finally:
        os.environ[_SWITCH] = before if before is not None else "false"
    return network
