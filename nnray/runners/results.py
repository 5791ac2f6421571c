"""What a run came to, for scripts (``--json``), notebooks and the next verb."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What every verb that trains comes to.

    Args:
        run_id: Of the MLflow run; of the parent run where there are several.
        verb: What was asked for, such as ``train``.
        seconds: From the command to the result, all processes of the run added up.
        metrics: Of the model on validation data, and on the test split.
        model_uri: Of the logged model, for ``mlflow.pyfunc.load_model``.
        model_sha256: Of its weights in canonical order, as safetensors.
        tracking_uri: Where everything is recorded.
        folder: The run's folder.
    """

    run_id: str
    verb: str
    seconds: float
    metrics: Mapping[str, float]
    model_uri: str
    model_sha256: str
    tracking_uri: str
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``."""
        return cls(**(dict(saved) | {"folder": Path(saved["folder"])}))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult(Result):
    """What training came to.

    Args:
        epochs: Epochs trained.
        epoch: The epoch whose weights the model has.
        faults: What happened to workers on the way, with the time; nothing where all went well.
    """

    epochs: int
    epoch: int
    faults: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """What came of it, and what to do next."""
        shown = ("test_accuracy", "test_loss", "val_accuracy", "val_loss")
        metrics = (f"{name:14} {self.metrics[name]:.4f}" for name in shown if name in self.metrics)
        return "\n".join(
            (
                *metrics,
                f"epoch          {self.epoch} of {self.epochs}",
                *(f"fault          {fault}" for fault in self.faults),
                *((f"run            {self.run_id}",) if self.run_id else ()),
                *((f"model          {self.model_uri}",) if self.model_uri else ()),
                "open the UI    nnray ui",
            )
        )

    def _repr_html_(self) -> str:
        return html_table(f"{self.verb} {self.folder.name}", self.to_dict() | dict(self.metrics))


def html_table(title: str, rows: Mapping[str, Any]) -> str:
    """A small table for notebooks."""
    shown = {name: value for name, value in rows.items() if not isinstance(value, Mapping)}
    cells = "".join(
        f"<tr><th>{html.escape(k)}</th><td>{html.escape(_text(v))}</td></tr>" for k, v in shown.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{cells}</table>"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value
