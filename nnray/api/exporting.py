"""A trained model in a format for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from nnray.api.named import Opening, open_model, root_of

if TYPE_CHECKING:
    from nnray.runners.export.export import Exported
    from nnray.runners.results import Result


def export(
    model: str | Path | Result,
    *,
    to: Literal["torch-export", "onnx", "safetensors"],
    opset: int | None = None,
    out: str | Path | None = None,
    **opening: Unpack[Opening],
) -> Exported:
    """Write a model in another format, and compare what was written with the model.

    Args:
        model: A trained model: what training gave, or any name that it has.
        to: ``torch-export``: a graph for ``torch.export.load``; ``onnx``: one for other runtimes;
            ``safetensors``: the weights with what it takes to rebuild the model, which every verb takes.
        opset: Version of ONNX's operators; None for the exporter's own choice.
        out: Folder for the files; None for a new one below the run's.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        ConfigError: An unknown format, or packages that ONNX takes are missing.
        IncompatibleModel: The format can't hold the model, or gives something else.
    """
    from nnray.runners.export.export import export as write

    subject = open_model(model, **opening)
    return write(subject, to=to, opset=opset, root=root_of(opening), out=None if out is None else Path(out))
