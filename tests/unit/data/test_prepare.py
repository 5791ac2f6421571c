from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nnray.data.prepare import prepare
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.statistics import digest, moments
from nnray.errors import DataError, UserCodeError


def made(count: int = 90, classes: int = 3) -> dict[str, Any]:
    """Examples that tell their own index."""
    x = np.arange(count, dtype=np.float32)[:, None] * [1.0, -2.0]
    return {"train": (x, np.arange(count) % classes)}


def indices(examples: Examples | None) -> list[int]:
    assert examples is not None
    return examples.inputs[:, 0].int().tolist()


def ready(result: Any = None, **kwargs: Any) -> DataSplits:
    return prepare(made() if result is None else result, **{"name": "s", "seed": 0, **kwargs})


@given(seed=st.integers(0, 2**40), validation=st.one_of(st.integers(1, 87), st.floats(0.01, 0.9)))
def test_training_and_validation_are_disjoint_and_cover_all(seed: int, validation: float) -> None:
    splits = ready(seed=seed, validation=validation)
    assert sorted(indices(splits.train) + indices(splits.val)) == list(range(90))
    assert len(indices(splits.val)) == (validation if validation >= 1 else max(1, round(90 * validation)))


def test_validation_is_stratified() -> None:
    splits = ready(validation=30)
    assert splits.val is not None
    assert splits.val.targets.bincount().tolist() == [10, 10, 10]


def test_split_depends_on_the_seed_alone() -> None:
    assert indices(ready(seed=1).val) == indices(ready(seed=1).val)
    assert indices(ready(seed=1).val) != indices(ready(seed=2).val)


def test_validation_split_of_the_data_sets_own_is_kept() -> None:
    result = made() | {"val": made(10)["train"]}
    splits = ready(result, validation=50)
    assert (len(splits.train), indices(splits.val)) == (90, list(range(10)))


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 80, 81, 1000])
def test_limit_thins_training_and_leaves_validation_alone(limit: int) -> None:
    whole, splits = ready(), ready(limit=limit)
    assert indices(splits.val) == indices(whole.val)
    assert len(splits.train) == min(limit, 81)
    assert set(indices(splits.train)) <= set(indices(whole.train))
    assert len(set(splits.train.targets.tolist())) == min(limit, 3)


def test_statistics_and_digest_are_of_what_is_trained_on() -> None:
    splits = ready(limit=20)
    assert splits.val is not None
    assert (splits.info.mean, splits.info.std) == moments(splits.train.inputs)
    assert splits.info.digest == digest(splits.train, splits.val)


def test_statistics_do_not_see_validation_or_test() -> None:
    result = made() | {"val": made(10)["train"], "test": made(10)["train"]}
    other = made() | {"val": (made(10)["train"][0] + 9, made(10)["train"][1])}
    assert ready(result).info.mean == ready(other).info.mean
    assert ready(result).info.digest != ready(other).info.digest


def test_without_normalization_there_are_no_statistics() -> None:
    info = ready(normalize=False).info
    assert (info.mean, info.std) == ((), ())
    assert info.digest == ready().info.digest


def test_too_large_a_validation_split_is_told() -> None:
    with pytest.raises(DataError, match=r"data\.validation: 88 of 90 examples.* 1 to 87"):
        ready(validation=88)


def test_one_example_of_each_class_can_not_be_split() -> None:
    with pytest.raises(DataError, match=r"data\.validation: 0\.1 of 3 examples"):
        ready(made(3))


def test_random_state_of_torch_and_numpy_is_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    ready(limit=9)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]


def test_examples_that_were_given_are_left_as_they_are() -> None:
    result = made()
    ready(result, limit=9)
    assert np.array_equal(result["train"][0], made()["train"][0])


def scaled(index: Tensor | None = None) -> DataSplits:
    """Examples that are encoded by the largest of those at an index: that of all of them at first."""
    raw = torch.arange(40, dtype=torch.float32)[:, None]
    most = raw.max() if index is None else raw[index].max()
    examples = Examples(raw / most, torch.arange(40) % 2)
    info = DataInfo("scaled", (1,), ("even", "odd"), encoder=str(float(most)))
    return DataSplits(examples, None, lambda: examples, info, refit=scaled)


@pytest.mark.parametrize("limit", [None, 7])
def test_an_encoder_is_fitted_on_what_is_learnt_from_alone(limit: int | None) -> None:
    splits = prepare(scaled(), name="scaled", seed=0, validation=0.25, limit=limit)
    assert isinstance(splits.train, Examples) and isinstance(splits.val, Examples) and splits.test
    assert (len(splits.train), len(splits.val)) == (limit or 30, 10)
    assert splits.train.inputs.max() == 1
    most = float(splits.info.encoder)
    values = torch.cat([splits.train.inputs, splits.val.inputs]) * most
    assert torch.allclose(splits.test().inputs * most, torch.arange(40.0)[:, None])
    assert len({round(value) for value in values[:, 0].tolist()}) == len(values)
    assert (splits.train.inputs * most).max() == pytest.approx(most)


def test_an_encoder_is_fitted_once_where_all_is_learnt_from() -> None:
    given = scaled()
    splits = prepare(replace(given, refit=None), name="scaled", seed=0, validation=0)
    again = prepare(given, name="scaled", seed=0, validation=0)
    assert splits.info == again.info
    assert torch.equal(splits.train.inputs, again.train.inputs)


def test_examples_that_get_lost_when_fitted_again_are_told() -> None:
    def fewer(index: Tensor) -> DataSplits:
        return replace(scaled(index), train=scaled().train.take(torch.arange(39)))

    with pytest.raises(UserCodeError, match=r"refit\(\) gave 39 examples; expected all 40"):
        prepare(replace(scaled(), refit=fewer), name="scaled", seed=0)
