from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nnray.data.check import as_examples, as_splits
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import DataError, NnrayError, UserCodeError

X = np.zeros((6, 1, 2, 2), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])
V = np.linspace(0, 1, 18, dtype=np.float32).reshape(6, 3)


def with_value(value: float, *, at: int = 4, like: np.ndarray[Any, Any] = V) -> np.ndarray[Any, Any]:
    array = like.copy()
    array[at].flat[0] = value
    return array


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (X, torch.uint8),
        (torch.from_numpy(X), torch.uint8),
        (X.astype(np.int64) + 255, torch.uint8),
        (X.astype(bool), torch.float32),
        (X.astype(np.float64) + 1, torch.float32),
        (X.astype(np.float16), torch.float32),
        (V, torch.float32),
        (V.astype(np.int32), torch.float32),
        (V.astype(np.uint8), torch.float32),
        (V.tolist(), torch.float32),
        (V[:, ::-1], torch.float32),
        (np.asfortranarray(V), torch.float32),
    ],
)
def test_pixels_stay_bytes_and_other_numbers_become_floats_of_the_same_value(
    x: Any, dtype: torch.dtype
) -> None:
    examples = as_examples((x, Y), where="s")
    assert examples.inputs.dtype == dtype
    assert examples.inputs.is_contiguous()
    assert np.array_equal(examples.inputs.numpy(), np.asarray(x).astype(examples.inputs.numpy().dtype))
    assert examples.targets.dtype == torch.int64


@pytest.mark.parametrize(
    "y", [Y, Y.tolist(), Y.astype(np.uint8), Y.astype(np.float64), Y[:, None], torch.tensor(Y)]
)
def test_labels_may_be_of_any_type_that_holds_whole_numbers(y: Any) -> None:
    assert as_examples((V, y), where="s").targets.tolist() == Y.tolist()


def test_read_only_arrays_are_copied_not_written_to() -> None:
    array = V.copy()
    array.setflags(write=False)
    examples = as_examples((array, Y), where="s")
    examples.inputs.zero_()
    assert np.array_equal(array, V)


def test_tensors_that_need_gradients_are_taken_without() -> None:
    assert not as_examples((torch.from_numpy(V.copy()).requires_grad_(), Y), where="s").inputs.requires_grad


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        (3, "is int; expected a pair"),
        ((V, Y, Y), "is tuple of length 3; expected a pair"),
        ({"x": V}, r"is a mapping with the keys \['x'\]"),
        ((V, Y[:5]), "has 6 x, but 5 y"),
        ((V[:0], Y[:0]), "is empty"),
        (
            (V[:, 0], Y),
            r"x has shape \(6,\); expected images \[N, C, H, W\], series \[N, C, T\] or vectors \[N, F\]",
        ),
        ((X[:, 0][:, None, None], Y), r"x has shape \(6, 1, 1, 2, 2\)"),
        ((X[:, :0], Y), r"x has shape \(6, 0, 2, 2\)"),
        (([[1, 2], [3]], [0, 1]), "not an array of numbers .*of one shape"),
        ((np.array([["a"], ["b"]]), [0, 1]), "not an array of numbers"),
        ((V.astype(complex), Y), "expected real numbers"),
        ((with_value(np.nan), Y), "example 4 holds nan; every value must be a finite number"),
        ((with_value(-np.inf, at=0), Y), "example 0 holds -inf"),
        ((with_value(1e300, like=V.astype(np.float64)), Y), "example 4 holds inf"),
        ((with_value(np.nan, like=X.astype(np.float32)), Y), "example 4 holds nan"),
        (
            (X.astype(np.float32) + 200, Y),
            "pixels go from 200 to 200; allowed: 0 to 1 as floats, or 0 to 255",
        ),
        ((X.astype(np.float32) - 0.5, Y), "pixels go from -0.5 to -0.5"),
        ((X.astype(np.int64) + 256, Y), "whole-number pixels go from 256 to 256; allowed: 0 to 255"),
        ((X.astype(np.int64) - 1, Y), "whole-number pixels go from -1"),
        ((V, Y + 0.5), "labels that are not whole numbers"),
        ((V, np.array([0, 1, np.nan, 0, 1, 2])), "labels that are not whole numbers"),
        ((V, Y.astype(complex)), "labels that are not whole numbers"),
        ((V, np.eye(6)), r"y has shape \(6, 6\); expected a label for each example"),
        ((V, ["a"] * 6), "not an array of numbers"),
    ],
)
def test_what_is_wrong_is_told_with_the_place(pair: Any, problem: str) -> None:
    with pytest.raises(DataError, match=f"^a: train.*{problem}"):
        as_examples(pair, where="a: train")


def test_bad_value_far_into_the_data_is_found() -> None:
    x = np.zeros((20_000, 2), dtype=np.float32)
    x[17_777, 1] = np.nan
    with pytest.raises(DataError, match="example 17777 holds nan"):
        as_examples((x, np.zeros(20_000)), where="s")


def test_splits_keep_their_classes_and_get_the_name_of_the_experiment() -> None:
    made = DataSplits(as_examples((V, Y), where=""), None, None, DataInfo("old", (9,), ("a", "b", "c", "d")))
    info = as_splits(made, name="new").info
    assert (info.name, info.input_shape, info.classes) == ("new", (3,), ("a", "b", "c", "d"))


def test_a_pair_alone_is_what_to_train_on() -> None:
    splits = as_splits((V, Y), name="s")
    assert (len(splits.train), splits.val, splits.test) == (6, None, None)
    assert splits.info.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "test", [(X, Y), lambda: (X, Y), lambda: Examples(torch.from_numpy(X), torch.tensor(Y))]
)
def test_mapping_may_give_test_as_a_pair_or_a_function(test: Any) -> None:
    splits = as_splits({"train": (X, Y), "val": (X, Y), "test": test, "classes": ["a", "b", "c"]}, name="s")
    assert splits.val is not None
    assert splits.test is not None
    assert (len(splits.val), len(splits.test()), splits.info.num_classes) == (6, 6, 3)


def never() -> Any:
    raise AssertionError("the test split was read")


def test_test_is_not_called_before_its_time() -> None:
    as_splits({"train": (X, Y), "test": never}, name="s")


@pytest.mark.parametrize(
    ("test", "problem", "kind"),
    [
        (lambda: (X, Y + 1), r"s: test: labels go from 1 to 3; allowed: 0 to 2, for 3 classes", DataError),
        (lambda: (V, Y), r"s: test: examples of shape \(3,\); expected \(1, 2, 2\), as in train", DataError),
        (lambda: (X[:0], Y[:0]), "s: test: is empty", DataError),
        (lambda: None, "s: test: is NoneType", DataError),
        (lambda: [][1], r"s: test\(\) raised IndexError", UserCodeError),
        (lambda: 1 / 0, r"s: test\(\) raised ZeroDivisionError", UserCodeError),
    ],
)
def test_test_is_checked_when_it_is_called(
    test: Callable[[], Any], problem: str, kind: type[NnrayError]
) -> None:
    splits = as_splits({"train": (X, Y), "test": test}, name="s")
    assert splits.test is not None
    with pytest.raises(kind, match=problem):
        splits.test()


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (None, "returned NoneType; expected a nnray.data.splits.DataSplits"),
        ([], "returned list of length 0"),
        ({"x": 1}, r"returned a mapping with the keys \['x'\]"),
        ({"train": (X, Y), "trial": 1}, r"unknown keys \['trial'\]; allowed: train, val, test, classes"),
    ],
)
def test_other_results_are_named_with_what_was_expected(result: Any, problem: str) -> None:
    with pytest.raises(UserCodeError, match=f"pkg:mine: .*{problem}"):
        as_splits(result, name="pkg:mine")


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (
            {"train": (X, Y), "classes": ["a", "b"]},
            "train: labels go from 0 to 2; allowed: 0 to 1, for 2 classes",
        ),
        ({"train": (X, Y - 1)}, "train: labels go from -1 to 1"),
        ({"train": (X, Y), "val": (X, Y + 9)}, "val: labels go from 9 to 11"),
        ({"train": (X, Y), "val": (X[:, :, :1], Y)}, r"val: examples of shape \(1, 1, 2\)"),
        ({"train": (X, Y * 100)}, "labels go up to 200, but there are 6 examples"),
        ({"train": (X, Y), "classes": 3}, "classes is int; expected a list of names"),
        ({"train": (X, Y), "classes": "abc"}, "classes is str of length 3; expected a list of names"),
        ({"train": (X, Y * 0)}, r"classes are \['0'\]; expected at least two"),
        ({"train": (X, Y), "classes": ["a", "b", "a"]}, r"classes are \['a', 'b', 'a'\]; .*all different"),
    ],
)
def test_labels_and_shapes_must_fit_the_classes(result: Any, problem: str) -> None:
    with pytest.raises(DataError, match=f"s: .*{problem}|s: {problem}"):
        as_splits(result, name="s")
