"""Missing values of series: refused unless asked, filled in from the past alone, never forecast."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nnray.data.prepare import prepare
from nnray.data.series import Window, windows
from nnray.data.series_csv import series_csv
from nnray.data.series_missing import filled_forward, is_missing, number_of
from nnray.data.splits import DataSplits, Examples
from nnray.errors import DataError

NAN = math.nan
PAST, HORIZON, COUNT = 4, 2, 60


def write(folder: Path, sales: list[str], *, visitors: list[str] | None = None) -> Path:
    rows = zip(sales, visitors or [str(row) for row in range(len(sales))], strict=True)
    (folder / "shop.csv").write_text("\n".join(["sales,visitors", *(",".join(row) for row in rows)]) + "\n")
    return folder


def counted(gaps: dict[int, str]) -> list[str]:
    """Row r has the value r, but for some cells."""
    return [gaps.get(row, str(row)) for row in range(COUNT)]


def read(folder: Path, **kwargs: Any) -> DataSplits:
    given = {"file": "shop.csv", "targets": ["sales"], "past": PAST, "horizon": HORIZON, **kwargs}
    return series_csv(root=str(folder), **given)


def parts(splits: DataSplits) -> list[Examples]:
    assert splits.test is not None
    found = [splits.train, splits.val, splits.test()]
    assert all(isinstance(part, Examples) for part in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("cell", [None, "", "  ", "nan", "NaN", "NA", "n/a", "null", "None"])
def test_a_cell_that_says_nothing_is_missing(cell: str | None) -> None:
    assert is_missing(cell)
    assert math.isnan(number_of(cell))


@pytest.mark.parametrize(("cell", "value"), [("0", 0.0), (" -1.5 ", -1.5), ("1e3", 1000.0)])
def test_a_number_is_itself(cell: str, value: float) -> None:
    assert not is_missing(cell)
    assert number_of(cell) == value


@pytest.mark.parametrize("cell", ["inf", "-inf", "1,5", "x", "?"])
def test_what_is_wrong_is_not_missing(cell: str) -> None:
    assert not is_missing(cell)
    with pytest.raises(ValueError, match=r"finite|convert"):
        number_of(cell)


def test_a_gap_takes_the_last_value_before_it() -> None:
    values = torch.tensor([[1, NAN, NAN, 4, NAN], [NAN, 2, NAN, 3, 5.0]])
    wanted = torch.tensor([[1, 1, 1, 4, 4], [NAN, 2, 2, 3, 5.0]])
    assert torch.equal(filled_forward(values).nan_to_num(-1), wanted.nan_to_num(-1))


@pytest.mark.parametrize("seed", range(5))
def test_filling_in_is_that_of_a_plain_loop_and_looks_at_the_past_alone(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 40, generator=rng)
    values[torch.rand(3, 40, generator=rng) < 0.4] = NAN
    wanted = values.clone()
    for channel in range(3):
        for row in range(1, 40):
            if wanted[channel, row].isnan():
                wanted[channel, row] = wanted[channel, row - 1]
    found = filled_forward(values)
    assert torch.equal(found.nan_to_num(9), wanted.nan_to_num(9))
    for cut in (7, 23):
        assert torch.equal(found[:, :cut].nan_to_num(9), filled_forward(values[:, :cut]).nan_to_num(9))


@pytest.mark.parametrize("cell", ["", "nan", "NA"])
def test_a_missing_value_is_refused_unless_asked(tmp_path: Path, cell: str) -> None:
    write(tmp_path, counted({7: cell}))
    with pytest.raises(DataError, match=rf"column sales holds '{cell}'; .*data.missing: forward"):
        read(tmp_path)
    assert len(read(tmp_path, missing="forward").train)


@pytest.mark.parametrize("cell", ["inf", "x"])
def test_what_is_no_number_is_refused_even_so(tmp_path: Path, cell: str) -> None:
    write(tmp_path, counted({7: cell, 9: ""}))
    with pytest.raises(DataError, match=f"column sales holds '{cell}'; every value"):
        read(tmp_path, missing="forward")


def test_a_series_that_begins_with_a_gap_has_nothing_to_fill_it_with(tmp_path: Path) -> None:
    write(tmp_path, counted({0: "", 9: ""}))
    with pytest.raises(DataError, match=r"series 1 begins with nothing in column sales; .*first rows"):
        read(tmp_path, missing="forward")


def test_without_gaps_the_key_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, counted({}))
    for one, other in zip(parts(read(tmp_path)), parts(read(tmp_path, missing="forward")), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_a_gap_is_seen_as_the_value_before_it_but_never_forecast(tmp_path: Path) -> None:
    """Gaps in all three parts; what is left are the windows without them in their horizons."""
    gaps = {12: "", 13: "", 45: "", 55: ""}
    write(tmp_path, counted(gaps))
    whole, found = (parts(s) for s in (_complete(tmp_path / "whole"), read(tmp_path, missing="forward")))
    for one, other in zip(whole, found, strict=True):
        kept = torch.tensor([not (set(row) & set(gaps)) for row in one.targets[:, 0].int().tolist()])
        assert 0 < int(kept.sum()) < len(one)
        assert torch.equal(other.targets, one.targets[kept])
        wanted = one.inputs[kept].clone()
        for row, last in {12: 11, 13: 11, 45: 44, 55: 54}.items():
            wanted[:, 0][wanted[:, 0] == row] = last
        assert torch.equal(other.inputs, wanted)


def _complete(folder: Path) -> DataSplits:
    folder.mkdir()
    return read(write(folder, counted({})), inputs=[])


def test_a_gap_in_what_is_only_seen_leaves_all_windows(tmp_path: Path) -> None:
    write(tmp_path, counted({}), visitors=counted({12: "", 30: ""}))
    found = read(tmp_path, inputs=["visitors"], missing="forward")
    assert len(found.train) == len(read(tmp_path).train)
    assert 12 not in found.train.inputs[:, 1]  # type: ignore[union-attr]


def test_gaps_are_filled_within_a_series_not_from_another(tmp_path: Path) -> None:
    lines = [f"{shop},{cell}" for shop in "ab" for cell in counted({} if shop == "a" else {0: ""})]
    (tmp_path / "shop.csv").write_text("\n".join(["shop,sales", *lines]))
    with pytest.raises(DataError, match="series b begins with nothing"):
        read(tmp_path, group="shop", missing="forward")


@pytest.mark.parametrize(
    ("rows", "part"), [(range(4, 42), "training"), (range(42, 51), "validation"), (range(51, 60), "test")]
)
def test_a_part_with_nothing_left_to_forecast_is_told(tmp_path: Path, rows: range, part: str) -> None:
    write(tmp_path, counted({row: "" for row in rows if row % 2}))
    with pytest.raises(DataError, match=f"every {part} window has a missing value to forecast"):
        parts(read(tmp_path, missing="forward"))


def test_groups_stay_with_the_windows_that_are_left(tmp_path: Path) -> None:
    lines = [f"{shop},{cell}" for shop in "ab" for cell in counted({20: ""} if shop == "a" else {})]
    (tmp_path / "shop.csv").write_text("\n".join(["shop,sales", *lines]))
    found = read(tmp_path, group="shop", missing="forward")
    assert found.groups is not None
    assert [int((found.groups().of == group).sum()) for group in (0, 1)] == [35, 37]
    assert len(found.groups().of) == len(found.train)


def test_a_changed_future_changes_nothing_that_is_filled_in_before(tmp_path: Path) -> None:
    cells = counted({20: "", 41: "", 42: "", 50: ""})
    one = prepare(read(write(tmp_path, cells), missing="forward"), name="s", seed=0)
    cells[42:] = ["7" if cell else "" for cell in cells[42:]]
    other = prepare(read(write(tmp_path, cells), missing="forward"), name="s", seed=0)
    assert torch.equal(one.train.inputs, other.train.inputs)  # type: ignore[union-attr]
    assert (one.info.mean, one.info.target_std) == (other.info.mean, other.info.target_std)


def test_windows_with_a_filled_value_in_their_horizon_are_left_out() -> None:
    values = torch.arange(10.0)[None]
    filled = torch.zeros(1, 10, dtype=torch.bool)
    filled[0, 6] = True
    found = windows(values, Window(3, 2, 1), first=0, stop=10, filled=filled)
    assert found.targets[:, 0].tolist() == [[3, 4], [4, 5], [7, 8], [8, 9]]
    assert not len(windows(values, Window(3, 2, 1), first=0, stop=10, filled=~filled))
