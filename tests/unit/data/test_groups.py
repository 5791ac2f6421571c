"""Groups of examples, and the writers of MNIST."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.data.check import as_splits
from nnray.data.groups import Groups, numbered_groups, taken
from nnray.data.idx import fashion_mnist, mnist
from nnray.data.mnist_writers import writers
from nnray.data.prepare import prepare
from nnray.errors import DataError, UserCodeError
from tests.unit.data.files import write_idx

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "mnist"


@pytest.mark.parametrize(
    ("values", "of", "names"),
    [
        ([7, 3, 7, 10], [1, 0, 1, 2], ("3", "7", "10")),
        (["b", "a", "b"], [1, 0, 1], ("a", "b")),
        (np.array([True, False]), [1, 0], ("False", "True")),
    ],
)
def test_groups_are_numbered_in_sorted_order(values: Any, of: list[int], names: tuple[str, ...]) -> None:
    groups = numbered_groups(values, kind="speaker")
    assert groups.of.tolist() == of
    assert groups.of.dtype == np.int64
    assert (groups.names, groups.kind, len(groups)) == (names, "speaker", len(names))


@pytest.mark.parametrize("values", [[[1, 2]], [1.5, 2.0], 3, [None, 1]])
def test_what_names_no_groups_is_refused(values: Any) -> None:
    with pytest.raises(DataError, match=r"groups have shape .*expected a text or a whole number"):
        numbered_groups(values)


def test_taking_keeps_names_of_groups_that_are_left_empty() -> None:
    groups = numbered_groups(["c", "a", "b"]).take(np.array([2, 0]))
    assert groups.of.tolist() == [1, 2]
    assert groups.names == ("a", "b", "c")


def test_groups_of_other_examples_are_refused() -> None:
    groups = Groups(np.array([0, 1]), ("a", "b"), "writer")
    with pytest.raises(DataError, match="mnist: tells the writer of 2 examples, but has 3"):
        taken(lambda: groups, index=np.array([0]), count=3, name="mnist")


def mapping(**more: Any) -> dict[str, Any]:
    x = np.arange(24, dtype=np.float32).reshape(12, 2)
    return {"train": (x, np.arange(12) % 2), **more}


def test_a_users_function_may_tell_groups() -> None:
    splits = prepare(mapping(groups=list("aabbccaabbcc")), name="own", seed=0, validation=4, limit=5)
    assert splits.groups is not None
    groups = splits.groups()
    before = splits.train.inputs[:, 0].div(2).long()  # type: ignore[union-attr]
    assert groups.of.tolist() == torch.tensor([0, 0, 1, 1, 2, 2] * 2)[before].tolist()
    assert len(groups.of) == 5


def test_a_users_groups_must_be_as_many_as_the_examples() -> None:
    with pytest.raises(DataError, match="own: 3 groups for 12 training examples; expected one for each"):
        as_splits(mapping(groups=["a", "b", "c"]), name="own")


def test_a_set_without_groups_has_none() -> None:
    assert prepare(mapping(), name="own", seed=0, validation=4).groups is None
    write_idx(Path(), "FashionMNIST")
    assert fashion_mnist(root=".").groups is None


def with_value(value: float) -> dict[str, Any]:
    made = mapping()
    made["train"][0][7, 1] = value
    return made


def test_missing_values_need_to_be_declared() -> None:
    with pytest.raises(
        DataError, match="own: train: example 7 holds nan; every value must be a finite number"
    ):
        as_splits(with_value(np.nan), name="own")
    splits = as_splits({**with_value(np.nan), "missing": True}, name="own")
    assert splits.info.missing
    assert splits.train.inputs.isnan().nonzero().tolist() == [[7, 1]]  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused_even_where_some_are_missing(value: float) -> None:
    with pytest.raises(
        DataError, match="own: train: example 7 is infinite; allowed: finite numbers, NaN where"
    ):
        as_splits({**with_value(value), "missing": True}, name="own")


def test_images_may_not_have_missing_pixels() -> None:
    x = np.full((4, 1, 2, 2), np.nan, dtype=np.float32)
    with pytest.raises(DataError, match="example 0 holds nan"):
        as_splits({"train": (x, [0, 1, 0, 1]), "missing": True}, name="own")


@pytest.mark.parametrize("declared", [True, False])
def test_the_test_split_is_held_to_the_same(declared: bool) -> None:
    x = np.full((2, 2), np.nan, dtype=np.float32)
    test = as_splits({**mapping(test=lambda: (x, [0, 1])), "missing": declared}, name="own").test
    assert test is not None
    if declared:
        assert bool(test().inputs.isnan().all())  # type: ignore[union-attr]
    else:
        with pytest.raises(DataError, match="own: test: example 0 holds nan"):
            test()


def test_unknown_keys_are_still_refused() -> None:
    with pytest.raises(
        UserCodeError, match=r"unknown keys \['group'\]; allowed: train, val, test, classes, groups"
    ):
        as_splits(mapping(group=[1]), name="own")


def write_writers(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


@pytest.mark.parametrize("folder", ["MNIST", "mnist", ".", "MNIST/raw"])
def test_writers_are_found_beside_the_digits(folder: str) -> None:
    write_idx(Path())
    write_writers(Path(folder) / "writers.npz", train_writer=np.arange(40, dtype=np.int16) % 7)
    splits = prepare(mnist(root="."), name="mnist", seed=0, validation=0)
    assert splits.groups is not None
    groups = splits.groups()
    assert groups.kind == "writer"
    assert groups.of.tolist() == [number % 7 for number in range(40)]


def test_missing_writers_matter_only_to_who_asks() -> None:
    write_idx(Path())
    splits = prepare(mnist(root="."), name="mnist", seed=0, validation=5)
    assert splits.groups is not None
    places = [re.escape(str(Path(place).absolute() / "writers.npz")) for place in ("MNIST", "mnist", ".")]
    with pytest.raises(DataError, match=rf"mnist: writers\.npz, .*missing: looked for {', '.join(places)}"):
        splits.groups()


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "not an .npz file with an array train_writer"), (b"PK\3\4 no zip", "not an .npz file")],
)
def test_an_unreadable_file_is_told(content: bytes, problem: str) -> None:
    Path("writers.npz").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        writers(".")


def test_a_file_without_the_array_or_for_other_digits_is_told() -> None:
    write_idx(Path())
    write_writers(Path("writers.npz"), test_writer=np.arange(3))
    with pytest.raises(DataError, match=r"not an \.npz file with an array train_writer"):
        writers(".")
    write_writers(Path("writers.npz"), train_writer=np.arange(3))
    splits = prepare(mnist(root="."), name="mnist", seed=0, validation=0)
    assert splits.groups is not None
    with pytest.raises(DataError, match="mnist: tells the writer of 3 examples, but has 40"):
        splits.groups()


def test_objects_in_the_file_are_never_unpickled() -> None:
    write_writers(Path("writers.npz"), train_writer=np.array([os, {}], dtype=object)[1:])
    with pytest.raises(DataError, match=r"not an \.npz file"):
        writers(".")


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
def test_published_writers_are_539_with_19_to_131_digits() -> None:
    groups = writers(str(SHARED))
    counts = np.bincount(groups.of)
    assert (len(groups), len(groups.of)) == (539, 60_000)
    assert (counts.min(), np.median(counts), counts.max()) == (19, 116, 131)
