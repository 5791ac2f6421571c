"""Classes that are too small or uneven are told, in memory and in streams; nothing else is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnray.data.folder import image_folder
from nnray.data.prepare import prepare
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.stream import Streams
from nnray.data.stream_prepare import prepare_streams
from nnray.data.uneven import oddities
from tests.unit.data.files import write_images

CLASSES = ("ant", "bee", "cow")


def labels(*counts: int) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def test_nothing_is_said_of_classes_of_a_size() -> None:
    assert oddities(labels(30, 20, 10), labels(3, 2, 1), classes=CLASSES) == []
    assert oddities(labels(19, 1, 1), None, classes=CLASSES) == []


def test_a_class_without_training_examples_is_named() -> None:
    [problem] = oddities(labels(9, 0, 9), None, classes=CLASSES)
    assert problem.startswith("no training example of bee: it can't be learnt")


def test_a_class_that_validation_does_not_see_is_named_with_its_size() -> None:
    [problem] = oddities(labels(9, 1, 9), labels(1, 0, 1), classes=CLASSES)
    assert problem.startswith("no validation example of bee (1 to learn from): metrics don't see it")


def test_uneven_classes_are_told_with_their_sizes_and_what_helps() -> None:
    [problem] = oddities(labels(100, 5, 40), labels(10, 1, 4), classes=CLASSES)
    assert "100 training examples of ant, 5 of bee" in problem
    assert "task.class_weights" in problem
    assert oddities(labels(99, 5, 40), labels(10, 1, 4), classes=CLASSES) == []


def test_long_lists_of_classes_are_cut() -> None:
    names = [f"c{number}" for number in range(40)]
    [problem] = oddities(labels(*[1] * 40), labels(1, 1), classes=names)
    assert "c2 (1 to learn from)" in problem
    assert "c11 (1 to learn from) and 28 more" in problem
    assert "c12" not in problem


def test_a_data_set_in_memory_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    y = labels(60, 1)
    given = {"train": (torch.rand(61, 2), y), "classes": ["many", "one"]}
    prepare(given, name="mine", seed=0)
    assert [record.getMessage()[:45] for record in caplog.records] == [
        "data set mine: no validation example of one (",
        "data set mine: classes are uneven: 54 trainin",
    ]


def test_a_stream_is_told_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, counts={"many": 30, "one": 1})
    streams = image_folder(root=str(tmp_path), stream=True, test=0)
    assert isinstance(streams, Streams)
    prepare_streams(streams, name="image_folder", seed=0)
    streamed = [record.getMessage() for record in caplog.records]
    caplog.clear()
    prepare(image_folder(root=str(tmp_path), test=0), name="image_folder", seed=0)
    assert streamed == [record.getMessage() for record in caplog.records]
    assert len(streamed) == 2


def test_targets_that_are_no_classes_of_examples_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    masks = Examples(torch.rand(20, 1, 4, 4), torch.zeros(20, 4, 4, dtype=torch.int64))
    info = DataInfo("masks", (1, 4, 4), CLASSES, targets="classes")
    prepare(DataSplits(masks, None, None, info), name="masks", seed=0)
    assert caplog.records == []
