"""Windows of time series: nothing of the future is in a past, and every message says what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from nnray.data.prepare import prepare
from nnray.data.series import Series, Window, cuts_of, split_in_time, windows
from nnray.data.series_csv import series_csv
from nnray.data.series_published import airline, ett, stock_indices, sunspots
from nnray.data.splits import DataInfo, DataSplits
from nnray.errors import DataError
from tests.unit.data.series_files import write_classic, write_ett, write_series, write_stocks

INFO = DataInfo("made up", (), (), targets="numbers")
WINDOW = Window(past=4, horizon=2, num_targets=1)


def counted(num_rows: int, num_channels: int = 2) -> torch.Tensor:
    """Channel c has the value 100 c + row in a row."""
    return torch.arange(num_rows).double() + 100 * torch.arange(num_channels).double()[:, None]


def split(values: torch.Tensor, cuts: tuple[int, int, int], window: Window = WINDOW) -> DataSplits:
    return split_in_time([Series("one", values)], window, cuts=[cuts], info=INFO)


def test_windows_are_what_the_rows_say() -> None:
    found = windows(counted(8), WINDOW, first=0, stop=8)
    assert found.inputs.tolist() == [
        [[0, 1, 2, 3], [100, 101, 102, 103]],
        [[1, 2, 3, 4], [101, 102, 103, 104]],
        [[2, 3, 4, 5], [102, 103, 104, 105]],
    ]
    assert found.targets.tolist() == [[[4, 5]], [[5, 6]], [[6, 7]]]


@pytest.mark.parametrize("num_rows", [6, 7, 13, 40])
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("first", [0, 4, 5, 9])
def test_windows_are_those_of_a_plain_loop(num_rows: int, stride: int, first: int) -> None:
    values = counted(num_rows)
    found = windows(values, WINDOW, first=first, stop=num_rows, stride=stride)
    wanted = [
        (values[:, origin - 4 : origin].tolist(), values[:1, origin : origin + 2].tolist())
        for origin in range(max(first, 4), num_rows - 1, stride)
    ]
    assert list(zip(found.inputs.tolist(), found.targets.tolist(), strict=True)) == wanted


def test_training_ends_where_validation_begins_and_so_on() -> None:
    """By the rows that horizons lie in, which are the values here."""
    splits = split(counted(30), (14, 20, 30))
    assert splits.val is not None and splits.test is not None
    parts = [splits.train, splits.val, splits.test()]
    rows = [sorted(set(part.targets.flatten().tolist())) for part in parts]  # type: ignore[union-attr]
    assert rows == [list(range(4, 14)), list(range(14, 20)), list(range(20, 30))]


def test_pasts_of_held_out_windows_reach_back_but_never_forward() -> None:
    splits = split(counted(30), (14, 20, 30))
    assert splits.test is not None
    for part in (splits.train, splits.val, splits.test()):
        assert torch.equal(part.inputs[:, 0, -1] + 1, part.targets[:, 0, 0])  # type: ignore[union-attr]
    assert splits.val.inputs[0, 0].tolist() == [10, 11, 12, 13]  # type: ignore[union-attr]


@pytest.mark.parametrize(("cut", "parts"), [(14, ("train",)), (20, ("train", "val"))])
def test_a_changed_future_changes_nothing_of_the_past(cut: int, parts: tuple[str, ...]) -> None:
    """Neither windows nor statistics, whatever comes from the cut on."""
    values = counted(30)
    shuffled = values.clone()
    shuffled[:, cut:] = 1e6 * values[:, cut:].flip(1)
    one, other = (prepare(split(v, (14, 20, 30)), name="made up", seed=0) for v in (values, shuffled))
    for part in parts:
        assert torch.equal(getattr(one, part).inputs, getattr(other, part).inputs)
        assert torch.equal(getattr(one, part).targets, getattr(other, part).targets)
    assert (one.info.mean, one.info.std) == (other.info.mean, other.info.std)
    assert (one.info.target_mean, one.info.target_std) == (other.info.target_mean, other.info.target_std)
    assert one.test is not None and other.test is not None
    assert not torch.equal(one.test().targets, other.test().targets)


def test_prepare_never_splits_windows_at_random() -> None:
    """Neighbouring windows share rows: a random validation split would hold what was learnt."""
    given = split(counted(30), (14, 20, 30))
    splits = prepare(given, name="made up", seed=0, validation=0.5)
    assert torch.equal(splits.train.inputs, given.train.inputs)  # type: ignore[union-attr]
    assert torch.equal(splits.val.inputs, given.val.inputs)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("val", "test", "cuts"),
    [(0.2, 0.1, (70, 90, 100)), (20, 10, (70, 90, 100)), (0.155, 3, (81, 97, 100))],
)
def test_parts_are_shares_or_numbers_of_rows(val: float, test: float, cuts: tuple[int, int, int]) -> None:
    assert cuts_of(100, val=val, test=test) == cuts


@pytest.mark.parametrize(
    ("cuts", "words"),
    [
        ((5, 20, 30), "training has 5 rows and needs 6"),
        ((14, 15, 30), "validation has 1 rows and needs 2"),
        ((14, 29, 30), "test has 1 rows and needs 2"),
        ((14, 20, 31), "the parts need 31 rows"),
    ],
)
def test_a_part_that_is_too_short_is_named(cuts: tuple[int, int, int], words: str) -> None:
    with pytest.raises(DataError, match=f"series one of 30 rows is too short.*{words}.*data.past") as caught:
        split(counted(30), cuts)
    assert str(caught.value).count("needs") <= 1


def test_several_series_are_groups_and_no_window_spans_two() -> None:
    series = [Series("low", counted(20)), Series("high", 1000 + counted(24))]
    splits = split_in_time(series, WINDOW, cuts=[(10, 15, 20), (12, 18, 24)], info=INFO)
    assert splits.groups is not None
    groups = splits.groups()
    assert groups.names == ("low", "high")
    assert groups.of.tolist() == [0] * 5 + [1] * 7
    steps = torch.cat([splits.train.inputs[:, :1], splits.train.targets], dim=2)  # type: ignore[union-attr]
    assert (steps.diff() == 1).all()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write_series(tmp_path / "shops.csv")
    return tmp_path


def read(folder: Path, **kwargs: Any) -> DataSplits:
    given = {"file": "shops.csv", "targets": ["sales"], "past": 6, "horizon": 3, **kwargs}
    return series_csv(root=str(folder), **given)


def test_a_csv_file_gives_targets_first_and_a_group_for_each_series(shop: Path) -> None:
    splits = read(shop, inputs=["visitors"], group="shop", time="day")
    assert splits.info.features == ("sales", "visitors")
    assert splits.train.inputs.shape[1:] == (2, 6)  # type: ignore[union-attr]
    assert splits.train.targets.shape[1:] == (1, 3)  # type: ignore[union-attr]
    assert splits.groups is not None
    assert splits.groups().names == ("east", "west")
    cells = (shop / "shops.csv").read_text().splitlines()[1].split(",")
    assert splits.train.inputs[0, :, 0].tolist() == pytest.approx([float(cells[2]), float(cells[3])])


def test_the_root_may_be_the_file(shop: Path) -> None:
    given: dict[str, Any] = {"targets": ["sales"], "past": 6, "horizon": 3}
    by_root = series_csv(root=str(shop / "shops.csv"), **given)
    assert torch.equal(by_root.train.inputs, read(shop).train.inputs)  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"no file at .*gone\.csv; set data\.root to the file"):
        series_csv(root=str(shop / "gone.csv"), **given)


def test_stride_is_the_distance_of_training_windows_alone(shop: Path) -> None:
    one, third = read(shop), read(shop, stride=3)
    assert torch.equal(third.train.inputs, one.train.inputs[::3])  # type: ignore[union-attr]
    assert torch.equal(third.val.inputs, one.val.inputs)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"file": "gone.csv"}, "no file at .*gone.csv; set data.root"),
        ({"targets": ["profit"]}, "has no column profit; it has shop, day, sales, visitors"),
        ({"targets": []}, "expected columns, each once"),
        ({"inputs": ["sales"]}, "expected columns, each once"),
        ({"targets": ["shop"]}, "column shop holds 'east'; every value .* finite number"),
        ({"time": "day"}, "column day goes from .* to '2026-01-01'; expected rows in the order"),
        ({"time": "sales", "group": "shop"}, "series east: column sales goes from"),
        ({"past": 200}, "too short for a past of 200"),
    ],
)
def test_what_a_csv_file_lacks_is_told(shop: Path, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(shop, **kwargs)


@pytest.mark.parametrize("cell", ["", "nan", "inf", "n/a"])
def test_a_missing_value_is_named_not_filled(shop: Path, cell: str) -> None:
    path = shop / "shops.csv"
    lines = path.read_text().splitlines()
    lines[7] = ",".join([*lines[7].split(",")[:2], cell, "1"])
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"column sales holds '{cell}'; every value of a series"):
        read(shop)


@pytest.mark.parametrize(
    ("line", "words"),
    [("east,2026-09-09", "has 2 cells"), ("east,2026-09-09,1,234,5", "has 5 cells")],
)
@pytest.mark.parametrize("options", [{}, {"missing": "forward"}, {"group": "shop", "time": "day"}])
def test_a_row_of_another_length_is_refused(
    shop: Path, line: str, words: str, options: dict[str, Any]
) -> None:
    path = shop / "shops.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, line, ""]))
    with pytest.raises(DataError, match=f"shops.csv, line {len(lines) + 1}: {words}; expected 4"):
        read(shop, **options)


def test_a_column_that_is_there_twice_is_refused(shop: Path) -> None:
    path = shop / "shops.csv"
    path.write_text(path.read_text().replace("visitors", "sales", 1))
    with pytest.raises(DataError, match="has more than one column sales"):
        read(shop)


@pytest.mark.parametrize("content", [b"", b"sales\n", b"\xff\xfe\x00\x01"])
def test_a_file_without_rows_or_text_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "shops.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"shops.csv: .*(has no column|no rows|unreadable)"):
        read(tmp_path)


def test_ett_is_cut_by_months_and_forecasts_the_oil_temperature_first(tmp_path: Path) -> None:
    write_ett(tmp_path / "ett")
    splits = ett(root=str(tmp_path), stations=["ETTh2", "ETTh1"], past=24, horizon=12, forecast="OT")
    assert splits.info.features[0] == "OT"
    assert len(splits.train) == 2 * (8640 - 24 - 12 + 1)
    assert splits.val is not None and splits.test is not None
    assert len(splits.val) == len(splits.test()) == 2 * (2880 - 12 + 1)
    assert splits.train.targets.shape[1:] == (1, 12)  # type: ignore[union-attr]
    cells = (tmp_path / "ett" / "ETTh1.csv").read_text().splitlines()[1].split(",")
    assert splits.train.inputs[0, :2, 0].tolist() == pytest.approx([float(cells[7]), float(cells[1])])  # type: ignore[union-attr]
    assert splits.groups is not None
    assert splits.groups().names == ("ETTh1", "ETTh2")


def test_each_index_is_a_series_of_its_own(tmp_path: Path) -> None:
    write_stocks(tmp_path)
    splits = stock_indices(root=str(tmp_path), indices=["FTSE", "DAX"], past=8, horizon=2, val=10, test=10)
    assert splits.groups is not None
    assert splits.groups().names == ("DAX", "FTSE")
    assert splits.train.inputs.shape == (2 * (70 - 10 + 1), 1, 8)  # type: ignore[union-attr]


def test_no_series_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.indices: is empty; allowed: .*DAX, SMI, CAC, FTSE"):
        stock_indices(root=str(tmp_path), indices=[])
    with pytest.raises(DataError, match=r"data.stations: is empty; allowed: .*ETTh1, ETTh2"):
        ett(root=str(tmp_path), stations=[])


def test_a_classic_file_may_stand_in_its_folder_or_at_the_root(tmp_path: Path) -> None:
    write_classic(tmp_path / "series", "sunspots_monthly.csv")
    write_classic(tmp_path, "airline_passengers.csv")
    for function in (sunspots, airline):
        assert len(function(root=str(tmp_path), past=6, horizon=3, val=20, test=20).train) == 50 - 9 + 1


@pytest.mark.realdata
@pytest.mark.skipif("NNRAY_DATA" not in os.environ, reason="needs the data sets under $NNRAY_DATA")
@pytest.mark.parametrize(
    ("function", "train", "held"),
    [(ett, 8521, 2857), (airline, 61, 13), (sunspots, 1831, 412), (stock_indices, 5064, 1100)],
)
def test_published_series_have_their_published_length(function: Any, train: int, held: int) -> None:
    splits = function(root=None)
    assert splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test())) == (train, held, held)
