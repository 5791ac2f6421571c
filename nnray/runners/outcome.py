"""What a verb after training comes to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a verb has found out about a model, or made of it.

    Args:
        verb: Such as ``evaluate``.
        seconds: It took.
        run_id: Of the MLflow run that it is recorded in; empty where the model is of none.
        model_uri: Of the model: that which was made, or looked at.
        model_sha256: Of its weights.
        tracking_uri: Where it is recorded.
        metrics: What was measured.
        files: What was written.
    """

    verb: str
    seconds: float
    run_id: str = ""
    model_uri: str = ""
    model_sha256: str = ""
    tracking_uri: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def summary(self) -> str:
        """What came of it, for people."""
        width = max(map(len, self.metrics), default=0)
        shown = [f"{name:{width}}  {value:.4f}" for name, value in self.metrics.items()]
        return "\n".join([*shown, *(f"written  {near(file)}" for file in self.files)])


def near(path: str | Path) -> str:
    """A path as short as it can be given from the folder that one is in."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def plain(value: Any) -> Any:
    """A value as JSON can hold it: what is no finite number is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
