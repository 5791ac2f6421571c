"""Laws that every data set of the catalog obeys, on small copies of its files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from nnray.catalog import CATALOG
from nnray.data import root as root_module
from nnray.data.batches import Batches
from nnray.data.check import as_splits
from nnray.data.check_values import classes_in
from nnray.data.groups import numbered_groups
from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from nnray.errors import DataError
from tests.unit.data.files import write_cifar, write_idx, write_images, write_npz
from tests.unit.data.heart_files import write_heart
from tests.unit.data.series_files import write_classic, write_ett, write_series, write_stocks
from tests.unit.data.streams import SHAPE, write_csv, write_parquet
from tests.unit.data.table_files import write_adult, write_customers, write_german, write_ratings
from tests.unit.data.text_files import write_plays, write_sms, write_texts

DATASETS = sorted(CATALOG["dataset"])
PUBLISHED = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "cifar-10-batches-py"}
KWARGS: dict[str, dict[str, Any]] = {
    "npz": {"file": "a.npz"},
    "parquet": {"shape": SHAPE},
    "ett": {"past": 3, "horizon": 2, "stride": 80},
    "airline": {"past": 6, "horizon": 2, "val": 20, "test": 20},
    "sunspots": {"past": 6, "horizon": 2},
    "stock_indices": {"past": 6, "horizon": 2},
    "series_csv": {
        "file": "shops.csv",
        "targets": ["sales"],
        "inputs": ["visitors"],
        "group": "shop",
        "past": 6,
        "horizon": 2,
    },
    "shapes": {"examples": 40, "test_examples": 20, "size": 16},
    "table": {"label": "buys", "drop": ["id", "spent"], "missing": ["n.k."]},
}
# Those that read no file, and how many examples they train on.
FILELESS = {"digits": 1438, "shapes": 40}
WRITERS: dict[str, Callable[[Path], None]] = {
    "adult": lambda folder: write_adult(folder / "adult"),
    "german_credit": lambda folder: write_german(folder / "german_credit"),
    "movielens": lambda folder: write_ratings(folder / "movielens"),
    "movielens_ranking": lambda folder: write_ratings(folder / "movielens"),
    "sms_spam": lambda folder: write_sms(folder / "sms_spam", count=60),
    "shakespeare": lambda folder: write_plays(folder / "shakespeare"),
    "table": lambda folder: write_customers(folder / "customers.csv"),
    "text_csv": lambda folder: write_texts(folder / "texts.csv", count=60),
    "ett": lambda folder: write_ett(folder / "ett"),
    "airline": lambda folder: write_classic(folder / "series", "airline_passengers.csv"),
    "sunspots": lambda folder: write_classic(folder / "series", "sunspots_monthly.csv"),
    "stock_indices": lambda folder: write_stocks(folder / "series"),
    "series_csv": lambda folder: write_series(folder / "shops.csv"),
}
# Encoders that are the same whatever the data: tests of the data sets say so.
FIXED_ENCODERS = {"movielens", "movielens_ranking", "shakespeare"}


def function(name: str) -> Any:
    module, _, attribute = CATALOG["dataset"][name].partition(":")
    return getattr(import_module(module), attribute)


@pytest.fixture(params=DATASETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write_files(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files of a data set, in the published format."""
    if name in ("mnist", "fashion_mnist"):
        write_idx(folder, PUBLISHED[name])
    elif name == "cifar10":
        write_cifar(folder, monkeypatch)
    elif name == "image_folder":
        write_images(folder, counts={"a": 20, "b": 12, "c": 9})
    elif name == "npz":
        write_npz(folder / "a.npz", parts=("",), count=40)
    elif name == "parquet":
        write_parquet(folder, count=60)
    elif name == "csv":
        write_csv(folder, count=60)
    elif name == "heart_disease":
        write_heart(folder / "heart_disease")
    elif name in WRITERS:
        WRITERS[name](folder)
    else:
        assert name in FILELESS, f"write small files for {name}"


@pytest.fixture
def files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_files(name, folder, monkeypatch)
    return folder


def made(name: str, files: Path) -> Any:
    return function(name)(root=str(files), **KWARGS.get(name, {}))


def ready(name: str, files: Path, **kwargs: Any) -> DataSplits:
    return prepare(made(name, files), **{"name": name, "seed": 0, "validation": 0.2, **kwargs})


def as_first_encoded(name: str, files: Path, **kwargs: Any) -> DataSplits:
    """Splits whose encoder has seen the whole of ``train``: its examples can be compared with those."""
    whole = replace(as_splits(made(name, files), name=name), refit=None)
    return prepare(whole, **{"name": name, "seed": 0, "validation": 0.2, **kwargs})


def rows(examples: Examples | None) -> set[tuple[Any, ...]]:
    assert examples is not None
    return {
        (*("missing" if pixel != pixel else pixel for pixel in pixels), *targets)
        for pixels, targets in zip(
            examples.inputs.flatten(1).tolist(),
            examples.targets.reshape(len(examples), -1).tolist(),
            strict=True,
        )
    }


def called(splits: DataSplits) -> Examples:
    assert splits.test is not None
    return splits.test()


def test_splits_are_disjoint_and_cover_what_there_was(name: str, files: Path) -> None:
    whole = as_splits(made(name, files), name=name)
    splits = as_first_encoded(name, files)
    train, val, test = rows(splits.train), rows(splits.val), rows(called(splits))
    assert not train & val
    assert not (train | val) & test
    own = set() if whole.val is None else rows(whole.val)
    assert train | val == rows(whole.train) | own
    assert test == rows(called(whole))


def test_splits_depend_on_the_seed_alone(name: str, files: Path) -> None:
    one, again, other = (ready(name, files, seed=seed) for seed in (1, 1, 2))
    assert one.val is not None
    assert again.val is not None
    assert torch.equal(one.val.inputs.nan_to_num(), again.val.inputs.nan_to_num())
    assert torch.equal(one.train.inputs.nan_to_num(), again.train.inputs.nan_to_num())
    assert one.info == again.info
    if as_splits(made(name, files), name=name).val is not None:
        assert rows(one.val) == rows(other.val), "a split of its own"
        return
    assert rows(one.val) != rows(other.val)
    assert one.info.digest != other.info.digest


def test_test_examples_are_the_same_whatever_the_seed(name: str, files: Path) -> None:
    one, other = (as_first_encoded(name, files, seed=seed) for seed in (1, 2))
    assert rows(called(one)) == rows(called(other))


def test_an_encoder_is_fitted_on_what_is_learnt_from(name: str, files: Path) -> None:
    """Fitted on all, it is that of the data set; fitted on some, it still encodes all, in their order."""
    whole = as_splits(made(name, files), name=name)
    if whole.refit is None:
        assert not whole.info.encoder or name in FIXED_ENCODERS, "what is held back must not be seen"
        return
    again = as_splits(whole.refit(torch.arange(0, len(whole.train), 3)), name=name)
    assert len(again.train) == len(whole.train)
    assert torch.equal(again.train.targets, whole.train.targets)  # type: ignore[union-attr]
    assert len(called(again)) == len(called(whole))
    everything = as_splits(whole.refit(torch.arange(len(whole.train))), name=name)
    assert everything.info == whole.info
    assert rows(everything.train) == rows(whole.train)  # type: ignore[arg-type]


def test_validation_is_stratified_and_of_exact_size(name: str, files: Path) -> None:
    splits, own = ready(name, files), as_splits(made(name, files), name=name).val
    assert splits.val is not None
    if own is not None:
        assert rows(splits.val) == rows(own), "it is left as it is"
        return
    count = len(splits.train) + len(splits.val)
    assert len(splits.val) == round(0.2 * count)
    classes = splits.info.num_classes
    held = splits.val.labels.bincount(minlength=classes)
    whole = splits.train.labels.bincount(minlength=classes) + held
    assert ((held - 0.2 * whole).abs() < 1 + 1e-6).all()


def test_info_matches_the_tensors(name: str, files: Path) -> None:
    splits = ready(name, files)
    info = splits.info
    for examples in (splits.train, splits.val, called(splits)):
        assert examples is not None
        assert tuple(examples.inputs.shape[1:]) == info.input_shape
        assert examples.inputs.dtype in ((torch.int64,) if info.vocabulary else (torch.uint8, torch.float32))
        assert tuple(examples.targets.shape[1:]) == info.target_shape
        whole = info.targets in ("class", "classes")
        assert examples.targets.dtype == (torch.int64 if whole else torch.float32)
        if info.num_classes:
            counted = classes_in(examples.targets, info)
            assert counted.min() >= 0
            assert counted.max() < info.num_classes
    assert info.name == name
    assert len(info.mean) == len(info.std) == (0 if info.vocabulary else info.input_shape[0])
    assert all(0 < value <= (1 if len(info.input_shape) == 3 else math.inf) for value in info.std)
    assert info.missing == bool(splits.train.inputs.isnan().any())
    assert len(info.digest) == 64


def test_normalised_training_examples_have_mean_0_and_deviation_1(name: str, files: Path) -> None:
    splits = ready(name, files)
    if splits.info.vocabulary:
        assert splits.train.inputs.unique().numel() > 2, "ids of tokens are no quantities"
        return
    scale = 255 if splits.train.inputs.dtype == torch.uint8 else 1
    x = splits.train.inputs.double().transpose(0, 1).flatten(1) / scale
    mean, std = torch.tensor(splits.info.mean).double(), torch.tensor(splits.info.std).double()
    normal = (x - mean[:, None]) / std[:, None]
    if splits.info.categories:
        named = torch.tensor(splits.info.categories) > 0
        assert torch.equal(normal[named], x[named]), "codes of categories are no quantities"
        normal = normal[~named]
    torch.testing.assert_close(normal.nanmean(1), torch.zeros(len(normal)).double(), rtol=0, atol=1e-5)
    squares = normal.square().nanmean(1)
    torch.testing.assert_close(squares, torch.ones(len(normal)).double(), rtol=0, atol=1e-5)


def test_test_split_is_not_read_by_prepare(name: str, files: Path) -> None:
    splits = as_splits(made(name, files), name=name)

    def never() -> Examples:
        raise AssertionError("the test split was read")

    prepare(DataSplits(splits.train, None, never, splits.info), name=name, seed=0, validation=0.2, limit=20)


def test_batches_cover_each_example_once_an_epoch_in_an_order_of_the_epoch(name: str, files: Path) -> None:
    splits = ready(name, files)
    batches = Batches(splits.train, batch_size=7, seed=3, shuffle=True)
    orders = []
    for epoch in (0, 1, 0):
        seen = list(batches.epoch(epoch))
        inputs, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
        scale = 255 if splits.train.inputs.dtype == torch.uint8 else 1
        assert rows(Examples((inputs * scale).round() if scale > 1 else inputs, targets)) == rows(
            splits.train
        )
        assert len(inputs) == len(splits.train)
        assert inputs.ndim < 4 or 0 <= inputs.min() <= inputs.max() <= 1
        orders.append(inputs.nan_to_num())
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_root_may_come_from_the_environment(name: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNRAY_DATA", str(files))
    result = as_splits(function(name)(root=None, **KWARGS.get(name, {})), name=name)
    assert rows(result.train) == rows(as_splits(made(name, files), name=name).train)


def test_missing_data_are_told_with_the_place_and_the_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in FILELESS:
        assert len(made(name, tmp_path / "gone").train) == FILELESS[name]
        return
    monkeypatch.setattr(root_module, "network_problem", lambda source: "none")
    with pytest.raises(DataError) as caught:
        made(name, tmp_path / "gone")
    assert str(tmp_path / "gone") in str(caught.value)
    assert "data.root" in str(caught.value)
    assert not (tmp_path / "gone").exists()


def test_groups_stay_with_their_examples(name: str, files: Path) -> None:
    """Every example keeps its own group through the validation split and the limit."""
    whole = as_splits(made(name, files), name=name)
    tags = [f"of {number % 4}" for number in range(len(whole.train))]
    told = numbered_groups(tags, kind="tag")
    whole = DataSplits(whole.train, whole.val, whole.test, whole.info, lambda: told)
    of_row = {
        row: told.of[at] for at in range(len(tags)) for row in rows(whole.train.take(torch.tensor([at])))
    }
    splits = prepare(whole, name=name, seed=0, validation=0.2, limit=25)
    assert splits.groups is not None
    groups = splits.groups()
    assert groups.names == ("of 0", "of 1", "of 2", "of 3")
    expected = [
        of_row[next(iter(rows(splits.train.take(torch.tensor([at])))))] for at in range(len(splits.train))
    ]
    assert groups.of.tolist() == expected


def test_no_validation_split_is_made_where_none_is_wanted(name: str, files: Path) -> None:
    whole = as_splits(made(name, files), name=name)
    splits = ready(name, files, validation=0)
    assert (splits.val is None) == (whole.val is None)
    assert rows(splits.train) == rows(whole.train)
    assert whole.val is not None or splits.info.digest != ready(name, files).info.digest


@pytest.mark.realdata
@pytest.mark.parametrize(("published", "count"), [("mnist", (60_000, 10_000)), ("cifar10", (50_000, 10_000))])
@pytest.mark.skipif("NNRAY_DATA" not in os.environ, reason="needs the data sets under $NNRAY_DATA")
def test_published_set_has_its_published_size(published: str, count: tuple[int, int]) -> None:
    splits = function(published)(root=None)
    assert (len(splits.train), len(called(splits))) == count
    assert len(set(splits.train.targets.tolist())) == 10
