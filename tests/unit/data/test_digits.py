from __future__ import annotations

import importlib.util

import pytest
import torch

from nnray.data.digits import digits
from nnray.errors import DataError


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    splits = digits()
    assert splits.test is not None
    parts = (splits.train, splits.test())
    ours = torch.cat([part.inputs for part in parts]).reshape(-1, 64) * 16
    rows = {(*row, label) for row, label in zip(images.tolist(), labels.tolist(), strict=True)}
    targets = torch.cat([part.targets for part in parts]).tolist()
    assert {(*row, label) for row, label in zip(ours.tolist(), targets, strict=True)} == rows
    assert len(ours) == len(images) == 1797


def test_test_split_is_of_the_size_asked_for_and_depends_on_its_own_seed_only() -> None:
    def held(**kwargs: float) -> torch.Tensor:
        test = digits(**kwargs).test  # type: ignore[arg-type]
        assert test is not None
        return test().inputs

    assert len(held()) == 359
    assert len(held(test=100)) == 100
    assert torch.equal(held(), held())
    assert not torch.equal(held(), held(split_seed=1))


def test_scikit_learn_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="install scikit-learn"):
        digits()


def test_test_split_that_is_too_large_is_told() -> None:
    with pytest.raises(DataError, match=r"data\.test: 1797 of 1797 examples"):
        digits(test=1797)
