"""What a run came to, for scripts (``--json``), notebooks and the next verb."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from nnray.runners.folder import EXHIBITS
from nnray.runners.headline import headline
from nnray.runners.outcome import near

_NAME_WIDTH = 14


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

    @property
    def shown(self) -> str:
        """The folder of what the task shows; empty where there is nothing."""
        folder = self.folder / EXHIBITS
        return near(folder) if folder.is_dir() else ""

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
        return table_of(
            [
                *figures(headline(self.metrics)),
                ("epoch", f"{self.epoch} of {self.epochs}"),
                *(("fault", fault) for fault in self.faults),
                ("run", self.run_id),
                ("model", self.model_uri),
                ("shown", self.shown),
                ("open the UI", "nnray ui"),
            ]
        )

    def _repr_html_(self) -> str:
        return html_table(f"{self.verb} {self.folder.name}", self.to_dict() | dict(self.metrics))


def figures(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Metrics as rows for `table_of`."""
    return [(name, f"{value:.4f}") for name, value in metrics.items()]


def table_of(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns of text; rows that say nothing are left out."""
    told = [(name, value) for name, value in rows if value]
    width = max([_NAME_WIDTH, *(len(name) for name, _ in told)])
    return "\n".join(f"{name:{width}} {value}" for name, value in told)


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
