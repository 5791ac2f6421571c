"""Kinds of examples beyond images of a class: tokens, series, tables, and what is answered of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from nnray.data.batches import Batches
from nnray.data.check import as_splits
from nnray.data.prepare import prepare
from nnray.data.splits import NO_CLASS, DataInfo
from nnray.errors import DataError, UserCodeError
from nnray.models.preprocess import preprocess, require_outputs

RNG = np.random.default_rng(0)
COUNT = 40
TOKENS = RNG.integers(0, 50, (COUNT, 6))
SERIES = RNG.normal(3.0, 2.0, (COUNT, 2, 8)).astype(np.float32)
TABLE = np.stack([RNG.integers(0, 4, COUNT), RNG.normal(7.0, 3.0, COUNT)], axis=1).astype(np.float32)
LABELS = RNG.integers(0, 3, COUNT)


def kinds() -> dict[str, dict[str, Any]]:
    """A data set of each kind, as a function of a user's own would return it."""
    future = RNG.normal(10.0, 5.0, (COUNT, 2, 3)).astype(np.float32)
    places = RNG.integers(0, 3, (COUNT, 4, 4))
    places[0, 0, 0] = NO_CLASS
    boxes = np.concatenate([np.zeros((COUNT, 2, 1)), RNG.random((COUNT, 2, 4))], axis=2)
    boxes[::2, 1] = -1
    images = RNG.integers(0, 256, (COUNT, 1, 4, 4), dtype=np.uint8)
    return {
        "tokens": {"train": (TOKENS, LABELS), "vocabulary": 50},
        "language": {"train": (TOKENS, TOKENS), "vocabulary": 50, "targets": "classes"},
        "series": {"train": (SERIES, future), "targets": "numbers"},
        "table": {"train": (TABLE, LABELS), "categories": (4, 0), "features": ("a", "b")},
        "ratings": {"train": (TABLE, RNG.random(COUNT)), "categories": (4, 0), "targets": "numbers"},
        "masks": {"train": (images, places), "targets": "classes"},
        "boxes": {"train": (images, boxes), "targets": "boxes", "classes": ["square", "disc"]},
    }


OUTPUTS = {
    "tokens": (3,),
    "language": (50, 6),
    "series": (2, 3),
    "table": (3,),
    "ratings": (),
    "masks": (3, 4, 4),
    "boxes": None,
}


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_each_kind_is_prepared_and_batched(kind: str) -> None:
    splits = prepare(kinds()[kind], name=kind, seed=0, validation=0.2)
    assert splits.info.output_shape == OUTPUTS[kind]
    assert len(splits.train) == 32 and splits.val is not None and len(splits.val) == 8
    batches = Batches(splits.train, batch_size=5, shuffle=True)
    inputs, targets = next(iter(batches.epoch(1)))
    assert inputs.dtype == splits.info.blank().dtype and inputs.shape[1:] == splits.info.blank().shape[1:]
    assert targets.dtype == splits.train.targets.dtype and targets.shape[1:] == splits.info.target_shape


@pytest.mark.parametrize("kind", sorted(OUTPUTS))
def test_labels_are_classes_or_nothing(kind: str) -> None:
    examples = prepare(kinds()[kind], name=kind, seed=0).train
    has_classes = kind in ("tokens", "table")
    assert torch.equal(
        examples.labels, examples.targets if has_classes else torch.zeros(len(examples)).long()
    )


def test_tokens_are_neither_normalised_nor_scaled() -> None:
    info = prepare(kinds()["tokens"], name="t", seed=0).info
    assert info.mean == info.std == ()
    model = preprocess(torch.nn.Embedding(50, 3), info)
    ids = torch.tensor([[1, 49]])
    assert torch.equal(model.normalize(ids), ids)


def test_codes_of_categories_stay_as_they_are() -> None:
    splits = prepare(kinds()["table"], name="t", seed=0)
    model = preprocess(torch.nn.Identity(), splits.info)
    normal = model(splits.train.inputs)
    assert torch.equal(normal[:, 0], splits.train.inputs[:, 0])
    assert abs(float(normal[:, 1].mean())) < 1e-6 and splits.info.features == ("a", "b")


def test_outputs_come_in_the_units_of_targets() -> None:
    splits = prepare(kinds()["series"], name="s", seed=0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 6), torch.nn.Unflatten(1, (2, 3)))
    for parameter in net.parameters():
        torch.nn.init.zeros_(parameter)
    model = preprocess(net, splits.info)
    require_outputs("net", model, info=splits.info)
    expected = splits.train.targets.mean((0, 2))
    torch.testing.assert_close(model(splits.train.inputs).mean((0, 2)), expected)


def test_series_are_normalised_by_channel_over_time() -> None:
    splits = prepare(kinds()["series"], name="s", seed=0)
    normal = preprocess(torch.nn.Identity(), splits.info).normalize(splits.train.inputs)
    torch.testing.assert_close(normal.mean((0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2), correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_statistics_of_targets_are_those_of_training() -> None:
    whole = kinds()["ratings"]
    splits = prepare(whole, name="r", seed=0, validation=0.5)
    assert splits.info.target_mean == pytest.approx([float(splits.train.targets.mean())])
    assert splits.info.target_std == pytest.approx([float(splits.train.targets.std(correction=0))])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"train": (TOKENS, LABELS), "vocabulary": 10}, "ids of tokens go from"),
    ({"train": (TOKENS.astype(np.float32), LABELS), "vocabulary": 50}, "expected ids of tokens"),
    ({"train": (TABLE, LABELS), "categories": (2, 0)}, "feature 0 goes from"),
    ({"train": (TABLE, LABELS), "categories": (4,)}, "1 numbers of categories"),
    ({"train": (TABLE + 0.5, LABELS), "categories": (9, 0)}, "whole numbers from 0 to 8"),
    ({"train": (SERIES, LABELS[:, None].repeat(2, 1) + 0.5), "targets": "classes"}, "a label for each place"),
    ({"train": (SERIES, np.full(COUNT, np.nan)), "targets": "numbers"}, "not finite"),
    (
        {"train": (SERIES, np.zeros((COUNT, 2, 4))), "targets": "boxes", "classes": ["a", "b"]},
        "expected boxes",
    ),
    (
        {"train": (SERIES, np.full((COUNT, 1, 5), 2.0)), "targets": "boxes", "classes": ["a", "b"]},
        "go from 2",
    ),
]


@pytest.mark.parametrize(("made", "word"), WRONG)
def test_what_a_kind_can_not_be_is_said(made: dict[str, Any], word: str) -> None:
    with pytest.raises(DataError, match=word):
        as_splits(made, name="own")


def test_an_unknown_kind_of_target_is_said() -> None:
    with pytest.raises(UserCodeError, match="allowed: class, classes, numbers, boxes"):
        as_splits({"train": (SERIES, LABELS), "targets": "labels"}, name="own")


def test_splits_that_differ_in_their_targets_are_refused() -> None:
    made = {"train": (SERIES, SERIES), "val": (SERIES, SERIES[:, :1]), "targets": "numbers"}
    with pytest.raises(DataError, match="targets of shape"):
        as_splits(made, name="own")


def test_a_model_of_other_outputs_is_told_what_is_expected() -> None:
    info = DataInfo("s", (2, 8), (), targets="numbers", target_shape=(2, 3))
    with pytest.raises(UserCodeError, match=r"numbers of shape \[2, 2, 3\] were expected"):
        require_outputs("net", preprocess(torch.nn.Flatten(), info), info=info)
