"""Write a model for others to run, and see that what was written gives the same."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, IncompatibleModel, Problem
from nnray.runners.export.onnx_file import write_onnx
from nnray.runners.export.order import Order, Writer, Written
from nnray.runners.export.torch_files import write_graph, write_weights
from nnray.runners.export.verify import differences, inputs_like
from nnray.runners.findings import findings
from nnray.runners.outcome import Outcome, near
from nnray.runners.subject import Subject

Format = Literal["torch-export", "onnx", "safetensors"]
_WRITERS: Mapping[Format, Writer] = {
    "torch-export": write_graph,
    "onnx": write_onnx,
    "safetensors": write_weights,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported(Outcome):
    """What was written.

    Args:
        format: As asked for.
        opset: Version of ONNX's operators; None in other formats.
        file_sha256: Of the first file.
        file_bytes: Of all files.
        max_difference: Between a logit of the model and of what was written, by batch size.
    """

    format: str
    opset: int | None
    file_sha256: str
    file_bytes: int
    max_difference: Mapping[int, float] = field(default_factory=dict)

    def summary(self) -> str:
        """What was written, and how well it agrees."""
        opset = "" if self.opset is None else f", opset {self.opset}"
        compared = ", ".join(f"{value:.2g} at batch {batch}" for batch, value in self.max_difference.items())
        lines = [f"format      {self.format}{opset}, {self.file_bytes:,} bytes"]
        lines += [f"difference  {compared} (largest, of logits)"]
        return "\n".join([*lines, *(f"written     {near(file)}" for file in self.files)])


def export(
    subject: Subject,
    *,
    to: Format,
    opset: int | None = None,
    root: Path = Path("runs"),
    out: Path | None = None,
) -> Exported:
    """Write a model in a format, compare it with the original, and record it with the model's run.

    Args:
        subject: The model.
        to: The format.
        opset: Version of ONNX's operators; None for the exporter's own choice.
        root: The folder of the runs' folders.
        out: Folder for the files; None for a new one below the run's.

    Raises:
        ConfigError: An unknown format, or an opset that is not to be had.
        IncompatibleModel: The format can't hold the model, or gives something else; no file is left.
    """
    began = time.monotonic()
    _check(to, opset)
    with findings(subject, "export", root=root, out=out) as found:
        written, compared = _write(subject, to, opset=opset, folder=found.folder)
        for path in written.files:
            found.file(path)
        found.metrics({"max_difference": max(compared.values())})
    origin = subject.origin
    return Exported(
        verb="export",
        seconds=time.monotonic() - began,
        run_id=origin.run_id,
        model_uri=origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=origin.tracking_uri,
        metrics={"max_difference": max(compared.values())},
        files=found.files,
        format=to,
        opset=written.opset,
        file_sha256=hashlib.sha256(written.files[0].read_bytes()).hexdigest(),
        file_bytes=sum(path.stat().st_size for path in written.files),
        max_difference=compared,
    )


def _check(to: str, opset: int | None) -> None:
    if to not in get_args(Format):
        problem = Problem("format", f"unknown format {to!r}; allowed: {', '.join(get_args(Format))}")
        raise ConfigError("export", [problem])
    if opset is not None and to != "onnx":
        raise ConfigError("export", [Problem("opset", f"is of format onnx: leave it out (got {opset})")])


def _write(
    subject: Subject, to: Format, *, opset: int | None, folder: Path
) -> tuple[Written, Mapping[int, float]]:
    order = Order(subject.module, inputs_like(subject.info, 2), subject.about, _facts(subject), opset)
    before = set(folder.iterdir())
    try:
        written = _WRITERS[to](order, folder)
        return written, differences(subject.module, written.forward, info=subject.info, method=to)
    except IncompatibleModel:
        for path in set(folder.iterdir()) - before:  # what gives something else is not to be found and used
            path.unlink()
        raise


def _kind(info: DataInfo) -> str:
    if info.vocabulary:
        return f"ids of tokens, below {info.vocabulary}"
    return "pixels from 0 to 1" if len(info.input_shape) == 3 else "numbers as in the data"


def _facts(subject: Subject) -> dict[str, Any]:
    info, origin = subject.info, subject.origin
    return {
        "model": origin.model_uri or subject.reference,
        "model_sha256": subject.sha256,
        "classes": list(info.classes),
        "shape": list(info.input_shape),
        "inputs": _kind(info),
        "missing": info.missing,
    }
