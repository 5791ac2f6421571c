"""A sweep without training, by a fixed script: it can be cut anywhere and resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnray.config import Range
from nnray.registry import build
from nnray.runners.sweep.study import Study, open_study
from nnray.seeding import derive

NUMBERS = {
    "lr": Range(loguniform=(1e-5, 1.0)),
    "dropout": Range(uniform=(0.0, 0.9)),
    "width": Range(int=(1, 64)),
}
SPACE = NUMBERS | {"kind": Range(choice=["a", "b", "c"])}
CONDITIONAL = {
    "momentum": Range(uniform=(0.0, 0.99), when={"kind": ["b", "c"]}),
    "layers": Range(choice=[[8], [8, 8]], when={"kind": "b"}),
    "decay": Range(loguniform=(1e-6, 1e-2), when={"layers": [8, 8]}),
    **SPACE,
}
STATES = ("finished", "pruned", "finished", "failed", "finished", "finished")


def loss(params: Mapping[str, Any]) -> float:
    """A smooth bowl with one kind better than the others; its minimum is 0."""
    bowl = (math.log10(params["lr"]) + 2.5) ** 2 + 4 * (params["dropout"] - 0.3) ** 2
    kind = 0.0 if params.get("kind", "b") == "b" else 0.7
    return bowl + abs(params["width"] - 40) / 40 + kind + abs(params.get("momentum", 0.9) - 0.9)


def size(params: Mapping[str, Any]) -> float:
    """What is at odds with the loss."""
    return params["width"] / 64 + (0.5 if params.get("kind") == "b" else 0.0)


def study_of(
    name: str,
    folder: Path,
    *,
    seed: int,
    modes: Sequence[str] = ("min",),
    space: Mapping[str, Range] = SPACE,
    **keys: Any,
) -> Study:
    """A new study in a file of its own."""
    path = folder / f"{name}-{seed}-{len(list(folder.iterdir()))}"
    return open_study(
        path,
        name=path.name,
        modes=modes,
        space=space,
        make_sampler=lambda number: build(
            "searcher", {"name": name, **keys}, "loss", modes[0], derive(seed, number), space=space
        ),
    )


def search(study: Study, *, trials: int) -> list[tuple[dict[str, Any], float]]:
    """Run trials one after another."""
    seen = []
    for _ in range(trials):
        number, params = study.propose()
        study.end(number, "finished", values=values_of(study, params), reason="")
        seen.append((params, loss(params)))
    return seen


def values_of(study: Study, params: Mapping[str, Any]) -> list[float]:
    """The metric, then the objectives."""
    return [loss(params), size(params)][: len(study.inner.directions)]


class Play:
    """A sweep with so many trials out at once, which ends the oldest when all are out.

    Args:
        study: New.
        out: How many trials at once.
        events: What happened before; the study is told of it.
    """

    def __init__(self, study: Study, *, out: int, events: Sequence[tuple[Any, ...]] = ()) -> None:
        self.study, self.out = study, out
        self.events: list[tuple[Any, ...]] = []
        self.running: dict[int, dict[str, Any]] = {}
        for event in events:
            if event[0] == "propose":
                study.replay(event[1], event[2])
            self._note(event)

    @property
    def proposals(self) -> list[dict[str, Any]]:
        """What was tried, in order."""
        return [event[2] for event in self.events if event[0] == "propose"]

    def run(self, events: int) -> Play:
        """Go on until so many events have happened."""
        while len(self.events) < events:
            if len(self.running) < self.out:
                self._note(("propose", *self.study.propose()))
            else:
                self._note(("end", min(self.running)))
        return self

    def _note(self, event: tuple[Any, ...]) -> None:
        self.events.append(event)
        if event[0] == "propose":
            self.running[event[1]] = event[2]
            return
        number, params = event[1], self.running.pop(event[1])
        self.study.report(number, 1, loss(params) + 0.5)
        self.study.end(
            number,
            STATES[number % len(STATES)],  # type: ignore[arg-type]
            values=values_of(self.study, params),
            constraints={"width <= 50": params["width"] - 50.0},
            reason="",
        )
