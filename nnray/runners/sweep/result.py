"""What a sweep came to, for scripts (``--json``), notebooks and the next verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from nnray.config import Experiment, load
from nnray.runners.results import html_table


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep came to.

    Args:
        run_id: Of the parent run in MLflow.
        verb: ``sweep``.
        seconds: From the command to the result.
        metrics: Of the champion on validation data, and on the test split.
        model_uri: Of the champion's logged model, for ``mlflow.pyfunc.load_model``.
        model_sha256: Of its weights in canonical order, as safetensors.
        tracking_uri: Where everything is recorded.
        best: The best experiment: ``train(result.best)`` trains it.
        params: What the sweep set in it, by dotted path.
        best_value: The metric of the best trial.
        trials: Number of trials by state.
        epochs: Epochs trained, all trials added up.
        best_file: The best experiment as a file.
        champion: Which model it is, in words.
        text: The summary.
        folder: The sweep's folder.
    """

    run_id: str
    verb: str
    seconds: float
    metrics: Mapping[str, float]
    model_uri: str
    model_sha256: str
    tracking_uri: str
    best: Experiment
    params: Mapping[str, Any]
    best_value: float
    trials: Mapping[str, int]
    epochs: int
    best_file: Path
    champion: str
    text: str
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; ``best`` is the dotted overrides."""
        left_out = ("best", "params", "text")
        plain = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in left_out}
        return plain | {"best": dict(self.params), "summary": self.text}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``; the best experiment is read from its file."""
        given = dict(saved)
        params, text = given.pop("best"), given.pop("summary")
        best_file, folder = Path(given.pop("best_file")), Path(given.pop("folder"))
        return cls(
            **given, best=load(best_file), params=params, text=text, best_file=best_file, folder=folder
        )

    def summary(self) -> str:
        """What the sweep taught, and what to do next."""
        return "\n".join(
            (
                self.text,
                f"champion    {self.champion}",
                *(f"            {name} {value:.4f}" for name, value in self._shown()),
                f"run         {self.run_id}",
                f"model       {self.model_uri}",
                f"train it    nnray train {self.best_file}",
                "open the UI nnray ui",
            )
        )

    def _shown(self) -> list[tuple[str, float]]:
        names = ("test_accuracy", "test_loss")
        return [(name, self.metrics[name]) for name in names if name in self.metrics]

    def _repr_html_(self) -> str:
        rows = self.to_dict() | dict(self.params) | dict(self._shown())
        return html_table(f"sweep {self.folder.name}", {k: v for k, v in rows.items() if k != "summary"})


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return dict(value) if isinstance(value, Mapping) else value
