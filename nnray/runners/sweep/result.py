"""What a sweep came to, for scripts (``--json``), notebooks and the next verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from nnray.config import Experiment, load
from nnray.runners.headline import of_split
from nnray.runners.results import Result, html_table

_NOT_PLAIN = ("best", "params", "text")
"""Fields that JSON gets in another form: ``best`` as dotted overrides, ``text`` as ``summary``."""
_LONG = ("summary", "front")
"""What is too long for a notebook's table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult(Result):
    """What a sweep came to; its model is the champion.

    Args:
        epochs: Epochs trained, of all trials.
        best: The best experiment: ``train(result.best)`` trains it.
        params: What the sweep set in it, by dotted path.
        best_value: The metric of the best trial.
        trials: Number of trials by state.
        best_file: The best experiment as a file.
        champion: Which model it is, in words.
        text: The summary.
        front: Trials that no other beats in all of metric and objectives, best metric first, each
            as ``trial``, ``params`` and ``values``; empty without objectives.
    """

    epochs: int
    best: Experiment
    params: Mapping[str, Any]
    best_value: float
    trials: Mapping[str, int]
    best_file: Path
    champion: str
    text: str
    front: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; ``best`` is the dotted overrides."""
        plain = Result.to_dict(self)
        kept = {name: value for name, value in plain.items() if name not in _NOT_PLAIN}
        return kept | {"best": dict(self.params), "summary": self.text}

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
                *((f"run         {self.run_id}",) if self.run_id else ()),
                *((f"model       {self.model_uri}",) if self.model_uri else ()),
                *((f"shown       {self.shown}",) if self.shown else ()),
                f"train it    nnray {self._of} {self.best_file}",
                "open the UI nnray ui",
            )
        )

    @property
    def _of(self) -> str:
        return "train" if self.best.sweep is None else self.best.sweep.of

    def _shown(self) -> list[tuple[str, float]]:
        return list(of_split(self.metrics, "test").items())

    def _repr_html_(self) -> str:
        rows = self.to_dict() | dict(self.params) | dict(self._shown())
        return html_table(f"sweep {self.folder.name}", {k: v for k, v in rows.items() if k not in _LONG})
