"""Methods one after the other, each measured; the last network is recorded.

Whatever is chosen, an epoch or a strength, is chosen by the validation split. The test split is read once, at
the end, for the network that went in and the one that came out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnray.assembly.described import about
from nnray.compression.cost import size_of
from nnray.errors import ConfigError, Problem, RunError
from nnray.runners.compression.measuring import row, tested, timed, validated
from nnray.runners.compression.methods import STRENGTHS, Method, searched
from nnray.runners.compression.outcome import Compression, table
from nnray.runners.compression.stages import Stage, Stages, calibration_inputs, written
from nnray.runners.compression.target import RATIOS, Target, find_strength
from nnray.runners.findings import Findings, findings
from nnray.runners.subject import Subject
from nnray.runners.training import prepare_process

_READ_EXAMPLES = ("channels", "distill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Args:
        methods: In their order, as ``read_methods`` gives them.
        epochs: To train after each; None for none, but the experiment's own for a student.
        lr: To train with; None for a tenth of the experiment's, and all of it for a student.
        student: As for ``student_experiment``.
        target: Finds the strength of the method whose strength is left open.
        register: Name to register the model under.
    """

    methods: Sequence[Method]
    epochs: int | None = None
    lr: float | None = None
    student: Sequence[str] = ()
    target: Target | None = None
    register: str | None = None


def compress(
    subject: Subject, plan: Plan, *, root: Path = Path("runs"), out: Path | None = None
) -> Compression:
    """Make a trained model smaller, measure it, and record it.

    Args:
        subject: The model.
        plan: What is to be done.
        root: The folder of the runs' folders.
        out: Folder for files.

    Raises:
        IncompatibleModel: A method can't handle it.
        ConfigError: The plan can't be carried out.
        DataError: Its data aren't there.
        RunError: It is an ensemble.
    """
    began = time.perf_counter()
    _require_single(subject, plan)
    _require_public(subject, plan)
    prepare_process(subject.experiment)
    splits = subject.splits()
    inputs = calibration_inputs(splits.train, subject.info, seed=subject.experiment.seed)
    with findings(subject, "compress", root=root, out=out) as found:
        stages = Stages(
            teacher=subject.module,
            splits=splits,
            inputs=inputs,
            epochs=plan.epochs,
            lr=plan.lr,
            student=plan.student,
            found=found,
        )
        chain = _Chain(stages, Stage("before", subject.module, subject.experiment, _recipe(subject)))
        methods = [dict(method) for method in plan.methods]
        if plan.target is not None:
            methods = chain.found(methods, plan.target)
        passed = chain.passed(methods)
        rows = chain.rows(passed)
        found.text(table(rows) + "\n", "table.txt")
        found.text(json.dumps({"rows": rows, "methods": methods}, indent=1), "compression.json")
        return _recorded(found, passed[-1], plan, rows=rows, methods=methods, began=began)


@dataclass(slots=True)
class _Chain:
    """Applies methods to what it begins with; the last pass is kept, for it may be asked for again."""

    stages: Stages
    first: Stage
    _kept: tuple[list[Method], list[Stage]] = field(default_factory=lambda: ([], []))

    @property
    def example(self) -> Tensor:
        return self.stages.inputs[:1]

    def passed(self, methods: Sequence[Method]) -> list[Stage]:
        """The stages, from the first on."""
        if self._kept[0] != list(methods):
            passed = [self.first]
            for method in methods:
                passed.append(self.stages.after(passed[-1], method))
            self._kept = (list(methods), passed)
        return self._kept[1]

    def found(self, methods: list[dict[str, Any]], target: Target) -> list[dict[str, Any]]:
        """The methods with the strength that meets a target."""
        number = searched(methods)
        strength = STRENGTHS[methods[number]["name"]]

        def at(share: float) -> list[dict[str, Any]]:
            method = {**methods[number], strength.key: strength.at(share)}
            return [*methods[:number], method, *methods[number + 1 :]]

        return at(find_strength(lambda share: self._meets(at(share), target), target))

    def _meets(self, methods: Sequence[Method], target: Target) -> bool:
        trains = target.what == "accuracy"
        last = (self if trains else _Chain(self.stages.untrained(), self.first)).passed(methods)[-1]
        before, after = (self._judged(stage, target) for stage in (self.first, last))
        chain = ", ".join(map(written, methods))
        self.stages.found.note(f"{chain}: {target.what} {after:.6g}, was {before:.6g}")
        return target.is_met(before, after)

    def _judged(self, stage: Stage, target: Target) -> float:
        if target.what == "latency":
            both = timed({"before": self.first, "now": stage}, self.example, times=10)
            return both["before" if stage is self.first else "now"][RATIOS["latency"]]
        if target.what == "accuracy":
            metrics = validated(stage.module, stage.experiment, splits=self.stages.splits)
            return metrics["val_accuracy"]
        return float(getattr(size_of(stage.module, self.example), RATIOS[target.what]))

    def rows(self, passed: Sequence[Stage]) -> list[dict[str, Any]]:
        """What was measured; the test split and the latency of the first and the last alone."""
        splits = self.stages.splits
        rows = [row(stage, splits=splits, example=self.example) for stage in passed]
        ends = {"first": passed[0], "last": passed[-1]}
        clock = timed(ends, self.example)
        for measured, name in ((rows[0], "first"), (rows[-1], "last")):
            measured |= tested(ends[name], splits=splits) | clock[name]
        return rows


def _recorded(
    found: Findings,
    last: Stage,
    plan: Plan,
    *,
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[Method],
    began: float,
) -> Compression:
    subject, threads = found.subject, torch.get_num_threads()
    metrics = {name: float(value) for name, value in rows[-1].items() if name != "name"}
    metrics |= {f"{name}_share": rows[-1][name] / rows[0][name] for name in RATIOS.values() if rows[0][name]}
    record = found.model(
        last.module,
        about=about(last.experiment, subject.info, recipe=last.recipe),
        params={"methods": json.dumps(methods), "epochs": plan.epochs, "lr": plan.lr, "threads": threads},
        metrics=metrics,
        register=plan.register,
    )
    return Compression(
        verb="compress",
        seconds=round(time.perf_counter() - began, 3),
        run_id=subject.origin.run_id,
        model_uri=record.uri,
        model_sha256=record.sha256,
        tracking_uri=subject.origin.tracking_uri,
        metrics=metrics,
        files=found.files,
        rows=rows,
        methods=methods,
        recipe=last.recipe,
        threads=threads,
    )


def _recipe(subject: Subject) -> Sequence[Mapping[str, Any]]:
    recipe: Sequence[Mapping[str, Any]] = subject.about.get("recipe", ())
    if any(step["step"] == "int8" for step in recipe):
        raise RunError(
            f"{subject.reference} has int8 weights already: compress the model that it was made of"
        )
    return recipe


def _require_single(subject: Subject, plan: Plan) -> None:
    first = plan.methods[0]["name"]
    if "members" in subject.about and not (first == "distill" and plan.student):
        raise RunError(
            f"{subject.reference} is an ensemble: compress its members, or give method distill first, and a "
            "--student that learns from it"
        )


def _require_public(subject: Subject, plan: Plan) -> None:
    """Refuse what looks at training examples that a guarantee protects."""
    reads = [m["name"] for m in plan.methods if m["name"] in _READ_EXAMPLES or "static" in m.values()]
    reads += ["epochs"] if plan.epochs else []
    if subject.experiment.privacy is not None and reads:
        message = (
            f"{', '.join(reads)} would look at training examples again, outside the model's guarantee of "
            "privacy: take magnitude, low_rank or int8, without epochs"
        )
        raise ConfigError(subject.reference, [Problem("privacy", message)])
