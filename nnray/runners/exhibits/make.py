"""What a task shows, as files in the run's storage: whole or not at all.

They depend on the model, the seed and the validation examples alone: written again, they are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import nn

from nnray.assembly import build_task
from nnray.config import Experiment
from nnray.data.batches import as_float
from nnray.data.splits import DataSplits
from nnray.data.stream_memory import first
from nnray.errors import UserCodeError
from nnray.evaluation.evaluate import evaluation_mode
from nnray.runners.folder import EXHIBITS
from nnray.seeding import torch_seeded
from nnray.tasks.exhibit import Exhibit
from nnray.tasks.task import Task
from nnray.training.storage import LocalFolder, RemoteFolder

_EXAMPLES = 512
"""Of the validation split, at most, are shown to a task."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def is_watched(experiment: Experiment, task: Task) -> bool:
    """Whether there is something to be seen after every epoch."""
    return experiment.privacy is None and getattr(task, "shown_each_epoch", False)


def exhibits(
    experiment: Experiment, model: nn.Module, *, splits: DataSplits, task: Task | None = None
) -> dict[str, bytes]:
    """The files that show what a model does.

    Args:
        experiment: Nothing is shown where it has a privacy section.
        model: On any device, in any mode; left as it is.
        splits: The first validation examples are shown; where there are none, nothing is.
        task: The experiment's, where it is built already.

    Returns:
        File names to contents; empty where the task has nothing to show.

    Raises:
        UserCodeError: A task's exhibits are not what `nnray.tasks.exhibit` says.
    """
    task = task or build_task(experiment, splits.info)
    show: Callable[..., Any] | None = getattr(task, "exhibits", None)
    if show is None or experiment.privacy is not None or splits.val is None or not len(splits.val):
        return {}
    examples = first(splits.val, _EXAMPLES)
    device = next((value.device for value in model.parameters()), torch.device("cpu"))
    inputs, targets = as_float(examples.inputs).to(device), examples.targets.to(device)
    with torch.no_grad(), evaluation_mode(model), torch_seeded(experiment.seed, EXHIBITS):
        shown = show(model, inputs, targets, seed=experiment.seed)
    _require_exhibits(shown, experiment)
    from nnray.runners.exhibits.draw import file_of  # draws on matplotlib, which takes a second

    return dict(file_of(name, exhibit) for name, exhibit in shown.items())


def keep(
    files: Mapping[str, bytes], storage: LocalFolder | RemoteFolder, *, epoch: int | None = None
) -> None:
    """Write files into the storage of a run: those of an epoch under its number."""
    folder = storage.child(EXHIBITS)
    for name, data in files.items():
        folder.put(file_name(name, epoch), data)


def file_name(name: str, epoch: int | None) -> str:
    """The name under which a file of an epoch is kept; of the model that a run came to, its own."""
    return name if epoch is None else f"epoch-{epoch:06d}-{name}"


def is_of_epoch(name: str) -> bool:
    """Whether a file shows what a model was after an epoch, not what training came to."""
    return PurePosixPath(name).name.startswith("epoch-")


def _require_exhibits(shown: Any, experiment: Experiment) -> None:
    """Check what came from a task, which may be a user's own."""
    expected = "expected lower-case names, each of a Picture, Passage, Curves or Points"
    if not isinstance(shown, Mapping):
        raise UserCodeError(experiment.task.name, f"exhibits() gave {type(shown).__name__}; {expected}")
    for name, exhibit in shown.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name) and isinstance(exhibit, Exhibit)):
            told = f"{name!r}: {type(exhibit).__name__}"
            raise UserCodeError(experiment.task.name, f"exhibits() gave {told}; {expected}")
