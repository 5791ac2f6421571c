"""The examples that a model is measured on: a split of its own data, or data that somebody gives.

Labels of given data are the model's classes by name, never by number: a folder that lacks a class, or
has them in another order, must not turn cats into dogs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnray.assembly import AnyBatches, evaluation_batches, load_data
from nnray.config import Experiment, load, parse
from nnray.config.tree import to_tree
from nnray.data.splits import DataInfo, DataSplits, Split
from nnray.data.table import encoded_rows
from nnray.data.table_columns import is_of_table
from nnray.errors import DataError
from nnray.runners.subject import Part, Subject
from nnray.training.device import find_device

_TABLES = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_EXPERIMENTS = (".yaml", ".yml")
_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Labelled examples for a model.

    Args:
        name: For people: the data set and the split.
        key: In names of metrics.
        part: Which split it is.
        info: Of the data set.
        split: The examples.
        experiment: That says how they are batched.
        labels: The model's label of each label of theirs.
        is_foreign: Whether they are other data than the model's own.
    """

    name: str
    key: str
    part: str
    info: DataInfo
    split: Split
    experiment: Experiment
    labels: Tensor
    is_foreign: bool = False

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and the model's labels, in order."""
        device = find_device(self.experiment.training.device)
        found: AnyBatches = evaluation_batches(self.experiment, self.split, device=device)
        labels, one_each = self.labels.to(device), self.info.targets == "class"
        for inputs, targets in found.epoch(0):
            yield inputs, labels[targets] if one_each else targets

    def __len__(self) -> int:
        return len(self.split)


def own_examples(subject: Subject, splits: DataSplits, *, part: Part) -> Given:
    """A split of the data that a model was trained with.

    Args:
        subject: The model.
        splits: Its data, as it was trained with them.
        part: Which split.

    Raises:
        DataError: There is none.
    """
    info = splits.info
    labels = torch.arange(info.num_classes)
    split = _split(splits, part, where=info.name)
    return Given(f"{info.name}, {part} split", part, part, info, split, subject.experiment, labels)


def given_examples(subject: Subject, path: Path, *, part: Part | None, label: str | None) -> Given:
    """Examples of somebody's own for a model.

    Args:
        subject: The model.
        path: A folder of images (CLASS/*), a CSV, Parquet or .npz file, or an experiment file whose data
            section is taken.
        part: Which split of it; None for ``test`` where it has one, else all of it.
        label: Column of the labels in a table; None for the model's own.

    Raises:
        DataError: No such data, classes that the model doesn't know, or examples of another shape.
    """
    if is_of_table(subject.info.encoder) and _is_table(path):
        experiment = subject.experiment
        named = label or experiment.data.component.kwargs.get("label", "label")
        splits = encoded_rows(str(path.absolute()), subject.info, label=named)
    else:
        experiment = _experiment(subject, path, label=label)
        splits = load_data(experiment)
    if part is None:
        part = "test" if splits.test is not None else "train"
    split = _split(splits, part, where=str(path))
    _require_fit(splits.info, subject.info, where=str(path))
    labels = labels_by_name(splits.info.classes, subject.info.classes, where=str(path))
    if splits.info.targets != "class" and splits.info.classes != subject.info.classes:
        raise DataError(
            f"{path}: its classes are {_listed(splits.info.classes)}; the model's, by label, "
            f"{_listed(subject.info.classes)}: list them so"
        )
    whole = part == "train" and splits.val is None and splits.test is None
    name = str(path) if whole else f"{path}, {part} split"
    key = path.stem if whole else f"{path.stem}.{part}"
    return Given(name, key, "all" if whole else part, splits.info, split, experiment, labels, is_foreign=True)


def _is_table(path: Path) -> bool:
    if path.is_dir():
        return any(found for suffix in _TABLES for found in path.glob(f"*{suffix}"))
    return path.exists() and path.suffix in _TABLES


def labels_by_name(classes: tuple[str, ...], known: tuple[str, ...], *, where: str) -> Tensor:
    """The label among ``known`` of each of ``classes``.

    Args:
        classes: Of the data.
        known: Of the model.
        where: For messages.

    Raises:
        DataError: The model has no such class.
    """
    if strange := [name for name in classes if name not in known]:
        raise DataError(
            f"{where}: the model doesn't know the classes {_listed(strange)}; it knows {_listed(known)}: "
            "name them so"
        )
    return torch.tensor([known.index(name) for name in classes])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_LISTED])) + (", ..." if len(names) > _LISTED else "")


def _experiment(subject: Subject, path: Path, *, label: str | None) -> Experiment:
    """The model's experiment on other data."""
    if path.suffix in _EXPERIMENTS:
        data: dict[str, Any] = to_tree(load(path))["data"]
    else:
        data = {**_data(subject, path, label=label), "normalize": False}
    tree: dict[str, Any] = to_tree(subject.experiment)
    kept: dict[str, Any] = {key: tree[key] for key in ("name", "seed", "task", "model") if key in tree}
    training = {
        key: tree["training"][key] for key in ("device", "eval_batch_size") if key in tree["training"]
    }
    data |= {"limit": None, "augment": []}
    experiment = parse({**kept, "training": training, "data": data}, source=str(path))
    if path.suffix in _EXPERIMENTS:
        return experiment
    # Nothing is held back: all of a file is measured on. A whole experiment must have a share.
    return experiment.model_copy(update={"data": experiment.data.model_copy(update={"validation": 0.0})})


def _data(subject: Subject, path: Path, *, label: str | None) -> dict[str, Any]:
    """A data section for a file or folder."""
    if not path.exists():
        raise DataError(
            f"{path}: there is no such file or folder; give a folder of images (CLASS/*), a .csv, .parquet "
            "or .npz file, or an experiment file (.yaml)"
        )
    own, root = subject.experiment.data, str(path.absolute())
    if path.is_dir() and not any(path.glob("*.csv")) and not any(path.glob("*.parquet")):
        if len(subject.info.input_shape) != 3:
            raise DataError(f"{path}: a folder of images, but the model takes {subject.info.input_shape}")
        color = "gray" if subject.info.input_shape[0] == 1 else "rgb"
        size = own.component.kwargs.get("size") if own.name == "image_folder" else None
        return {"name": "image_folder", "root": root, "size": size, "color": color, "test": 0}
    if path.suffix == ".npz":
        return {"name": "npz", "root": root, "test": 0}
    name = _TABLES.get(path.suffix)
    if path.is_dir():
        name = "csv" if any(path.glob("*.csv")) else "parquet"
    if name is None:
        raise DataError(f"{path}: not known by its name; allowed: folders, .csv, .parquet, .npz, .yaml")
    same = {
        key: value
        for key, value in own.component.kwargs.items()
        if own.name == name and key in ("label", "columns", "shape", "image", "size", "color")
    }
    return {"name": name, "root": root, "test": 0, **same} | ({"label": label} if label else {})


def _split(splits: DataSplits, part: Part, *, where: str) -> Split:
    there = [name for name in ("train", "val", "test") if getattr(splits, name) is not None]
    if part not in there:
        raise DataError(f"{where}: has no {part} split; it has {' and '.join(there)}: choose with --split")
    found = splits.test() if part == "test" and splits.test is not None else getattr(splits, part)
    if not len(found):
        raise DataError(f"{where}: its {part} split is empty; at least one example is needed")
    split: Split = found
    return split


def _require_fit(info: DataInfo, known: DataInfo, *, where: str) -> None:
    if info.input_shape != known.input_shape:
        raise DataError(f"{where}: examples of shape {info.input_shape}; the model takes {known.input_shape}")
    if (info.targets, info.target_shape) != (known.targets, known.target_shape):
        raise DataError(
            f"{where}: asks for {info.targets} of shape {list(info.target_shape)}; the model gives "
            f"{known.targets} of shape {list(known.target_shape)}"
        )
    if info.encoder and info.encoder != known.encoder:
        raise DataError(
            f"{where}: its texts or cells are encoded by what was learnt from other examples, so they have "
            "other codes than the model's; give a CSV or Parquet file, which is encoded as the model's own"
        )
    if info.missing and not known.missing:
        raise DataError(f"{where}: values are missing; the model was trained on data without missing values")
