"""A trained model with all that is known of it: what every verb after training begins with.

It is found by any name that people have for it, and opened from safetensors and JSON alone, which run no
code. A pickled file is opened only if it is trusted, and an experiment that names functions of its own
where it comes from the user's own store or runs, or is trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from nnray.assembly import AnyBatches, build_task, evaluation_batches, load_data
from nnray.assembly.described import About, experiment_of, info_of
from nnray.assembly.rebuilt import module_of
from nnray.config import Experiment
from nnray.data.splits import DataInfo, DataSplits, Split
from nnray.errors import DataError, RunError
from nnray.runners import origins
from nnray.runners.kinds import tells_classes
from nnray.runners.origins import Found, Origin
from nnray.tasks.task import Task
from nnray.training.device import find_device

__all__ = ["Origin", "Part", "Subject", "open_subject"]

Part = Literal["train", "val", "test"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A trained model, and where it is from.

    Args:
        reference: As a person named it.
        module: On the CPU, in evaluation mode; plain inputs go in, logits come out.
        experiment: That it was trained by.
        info: Of the data that it was trained on.
        task: It was trained for.
        sha256: Of its weights.
        origin: Where it is from.
        about: What it takes to build it again.
    """

    reference: str
    module: nn.Module
    experiment: Experiment
    info: DataInfo
    task: Task
    sha256: str
    origin: Origin
    about: About

    @property
    def tells_classes(self) -> bool:
        """Whether it tells one class of each example, so that figures of classes can be taken."""
        return tells_classes(self.info, self.task)

    def splits(self) -> DataSplits:
        """The experiment's data, as they were prepared for training; the test split isn't read.

        Raises:
            DataError: They are not here, or not those that the model was trained on.
        """
        splits = load_data(self.experiment)
        if self.info.digest and splits.info.digest != self.info.digest:
            raise DataError(
                f"{splits.info.name}: not the examples that {self.reference} was trained on (SHA-256 "
                f"{splits.info.digest[:12]}, then {self.info.digest[:12]}): which were held back isn't known"
            )
        return splits

    def examples(self, part: Part) -> Split:
        """One of the splits.

        Raises:
            DataError: There is none.
        """
        splits = self.splits()
        found = splits.test() if part == "test" and splits.test is not None else None
        found = {"train": splits.train, "val": splits.val}.get(part, found)
        if found is None or not len(found):
            raise DataError(f"{self.info.name}: has no {part} split; take another one of train, val and test")
        return found

    def batches(self, part: Part, *, batch_size: int | None = None) -> AnyBatches:
        """Batches of a split, in order.

        Args:
            part: Which split.
            batch_size: Examples of a batch; None for ``training.eval_batch_size``.
        """
        experiment = self.experiment
        if batch_size is not None:
            training = experiment.training.model_copy(update={"eval_batch_size": batch_size})
            experiment = experiment.model_copy(update={"training": training})
        device = find_device(experiment.training.device)
        return evaluation_batches(experiment, self.examples(part), device=device)


def open_subject(
    reference: str | Path | Mapping[str, Any],
    *,
    root: Path = Path("runs"),
    tracking: str | None = None,
    trust: bool = False,
    experiment: Path | None = None,
) -> Subject:
    """Find a trained model, and open it.

    Args:
        reference: A run's folder, by name or path, or its MLflow id; ``NAME@ALIAS``, ``NAME/VERSION`` or
            ``NAME`` of a registered model; a model's id; a folder of a model's files, or a file of weights.
        root: The folder of the runs' folders.
        tracking: The store; None as for a run.
        trust: Open also what runs code of whoever made it: pickles, and experiments that name functions.
        experiment: The file of the experiment that weights alone, or a foreign model, are of.

    Raises:
        RunError: There is no such model, or it is not opened, with the reason.
        ConfigError: Its experiment is none that this nnray knows.
        TrackingError: The store can't be asked.
    """
    found = origins.find(str(reference), root=root, tracking=tracking)
    if found.described is None:
        from nnray.runners.foreign import open_foreign

        found, module = open_foreign(found, trust=trust, experiment=experiment)
    else:
        origins.require_known(found, trust=trust)
        module = module_of(found.described, found.weights, where=found.where)
    assert found.described is not None
    return _subject(str(reference), found, module)


def _subject(reference: str, found: Found, module: nn.Module) -> Subject:
    assert found.described is not None
    experiment, info = experiment_of(found.described), info_of(found.described)
    sha256 = hashlib.sha256(found.weights).hexdigest()
    if found.origin.sha256 and found.origin.sha256 != sha256:
        raise RunError(
            f"{found.where}: its weights are not those that were logged (SHA-256 {sha256[:12]}, then "
            f"{found.origin.sha256[:12]}): the file was changed, or is damaged"
        )
    return Subject(
        reference=reference,
        module=module.eval(),
        experiment=experiment,
        info=info,
        task=build_task(experiment, info),
        sha256=sha256,
        origin=found.origin,
        about=found.described,
    )
