"""A trained model in a format for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nnray.api.named import open_model

if TYPE_CHECKING:
    from nnray.runners.export.export import Exported
    from nnray.runners.results import Result


def export(
    model: str | Path | Result,
    *,
    to: Literal["torch-export", "onnx", "safetensors"],
    opset: int | None = None,
    out: str | Path | None = None,
    root: str | Path = "runs",
    tracking: str | None = None,
    trust: bool = False,
    experiment: str | Path | None = None,
) -> Exported:
    """Write a model in another format, and compare what was written with the model.

    Args:
        model: A trained model: what training gave, or any name that it has.
        to: ``torch-export``: a graph for ``torch.export.load``; ``onnx``: one for other runtimes;
            ``safetensors``: the weights with what it takes to rebuild the model, which every verb takes.
        opset: Version of ONNX's operators; None for the exporter's own choice.
        out: Folder for the files; None for a new one below the run's.
        root: The folder of the runs' folders.
        tracking: The store; None as for a run.
        trust: Open also a model that runs code of whoever made it.
        experiment: The file of the experiment that weights alone are of.

    Raises:
        RunError: There is no such model.
        ConfigError: An unknown format, or packages that ONNX takes are missing.
        IncompatibleModel: The format can't hold the model, or gives something else.
    """
    from nnray.runners.export.export import export as write

    subject = open_model(model, root=root, tracking=tracking, trust=trust, experiment=experiment)
    return write(subject, to=to, opset=opset, root=Path(root), out=None if out is None else Path(out))
