"""Any table: how columns are told apart, what is learnt from which rows, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from nnray.data.table import table
from nnray.data.table_columns import encoder_from_json
from nnray.errors import DataError
from tests.unit.data.table_files import CUSTOMER, write_customers

PLAIN: dict[str, Any] = {"label": "buys", "drop": ["id", "spent"], "missing": ["n.k."]}


@pytest.fixture
def path() -> Path:
    write_customers(Path("customers.csv"))
    return Path("customers.csv")


def made(path: Path, **options: Any) -> DataSplits:
    return table(root=str(path), **{**PLAIN, **options})


def train_of(splits: DataSplits) -> Examples:
    assert isinstance(splits.train, Examples)
    return splits.train


def test_of(splits: DataSplits) -> Examples:
    assert splits.test is not None
    found = splits.test()
    assert isinstance(found, Examples)
    return found


test_of.__test__ = False  # type: ignore[attr-defined]


def cells_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def changed(path: Path, rows: list[dict[str, str]]) -> None:
    lines = [",".join(row[name] for name in CUSTOMER) for row in rows]
    path.write_text("\n".join([",".join(CUSTOMER), *lines]) + "\n")


def test_columns_of_numbers_are_quantities_and_columns_of_texts_are_categories(path: Path) -> None:
    info = made(path).info
    assert info.features == ("age", "income", "city", "shop")
    assert info.categories == (0, 0, 4, 0)
    assert info.classes == ("no", "yes")
    assert info.missing
    assert encoder_from_json(info.encoder).categories[2] == ("Bonn", "Graz", "Lyon")


def test_a_key_says_otherwise(path: Path) -> None:
    info = made(path, categories=["shop"]).info
    assert info.categories == (0, 0, 4, 4)
    assert encoder_from_json(info.encoder).categories[3] == ("10", "20", "30")
    assert made(path, numbers=["shop"]).info.categories == (0, 0, 4, 0)


def test_inputs_are_the_cells_of_the_file(path: Path) -> None:
    splits = made(path, test=0)
    rows = cells_of(path)
    ages = torch.tensor([float(row["age"] or "nan") for row in rows])
    torch.testing.assert_close(train_of(splits).inputs[:, 0], ages, equal_nan=True)
    codes = [0 if not row["city"] else ["Bonn", "Graz", "Lyon"].index(row["city"]) + 1 for row in rows]
    assert train_of(splits).inputs[:, 2].tolist() == codes
    assert train_of(splits).targets.tolist() == [int(row["buys"] == "yes") for row in rows]
    assert splits.test is None


def test_columns_come_in_the_order_that_is_asked_for(path: Path) -> None:
    one, other = made(path), made(path, columns=["city", "age"], drop=None)
    assert other.info.features == ("city", "age")
    assert torch.equal(train_of(other).inputs[:, 0], train_of(one).inputs[:, 2])


def test_an_indicator_is_one_more_input_for_each_quantity_that_lacks_values(path: Path) -> None:
    splits = made(path, indicators=True)
    assert splits.info.features[4:] == ("age is missing", "income is missing")
    inputs = train_of(splits).inputs
    assert torch.equal(inputs[:, 4].bool(), inputs[:, 0].isnan())
    assert 0 < inputs[:, 4].sum() < len(inputs)


@pytest.mark.parametrize(
    ("cells", "target", "classes"),
    [
        (["b", "a"], "auto", ("a", "b")),
        (["10", "9"], "auto", ("9", "10")),
        (["1.5", "2"], "auto", ()),
        ([str(n) for n in range(21)], "auto", ()),
        ([str(n) for n in range(21)], "class", tuple(str(n) for n in range(21))),
        (["1", "2"], "number", ()),
    ],
)
def test_an_answer_is_a_class_or_a_number(cells: list[str], target: Any, classes: tuple[str, ...]) -> None:
    rows = [f"{number},{cells[number % len(cells)]}" for number in range(63)]
    Path("t.csv").write_text("\n".join(["x,label", *rows]) + "\n")
    splits = table(root="t.csv", target=target)
    assert splits.info.classes == classes
    assert splits.info.targets == ("class" if classes else "numbers")
    assert train_of(splits).targets.dtype == (torch.int64 if classes else torch.float32)


def test_the_same_cells_are_the_same_examples_in_parquet(path: Path) -> None:
    rows = cells_of(path)
    columns: dict[str, Any] = {name: [row[name] or None for row in rows] for name in CUSTOMER}
    columns["age"] = pa.array([int(cell) if cell else None for cell in columns["age"]])
    columns["income"] = pa.array([None if cell == "n.k." else float(cell) for cell in columns["income"]])
    columns["shop"] = pa.array([float(cell) for cell in columns["shop"]])
    pq.write_table(pa.table(columns), "customers.parquet")
    one, other = (made(Path(name), categories=["shop"]) for name in ("customers.csv", "customers.parquet"))
    assert torch.equal(train_of(one).inputs.nan_to_num(-1), train_of(other).inputs.nan_to_num(-1))
    assert encoder_from_json(one.info.encoder).categories == encoder_from_json(other.info.encoder).categories


def test_rows_held_back_have_no_part_in_what_is_learnt(path: Path) -> None:
    """Cells of the test and of the validation split may hold anything: what is learnt stays to the bit."""
    before = prepare(made(path), name="table", seed=0, validation=0.2)
    assert isinstance(before.val, Examples)
    incomes = {f"{value:.2f}" for value in train_of(before).inputs[:, 1].tolist()}
    rows = cells_of(path)
    strange = [row for row in rows if row["income"] not in incomes and row["income"] != "n.k."]
    assert len(strange) > 10
    for row in strange:
        row["city"], row["age"] = "Rome", "1000"
    changed(path, rows)
    after = prepare(made(path), name="table", seed=0, validation=0.2)
    assert after.info.encoder == before.info.encoder
    assert (after.info.mean, after.info.std) == (before.info.mean, before.info.std)
    assert torch.equal(train_of(after).inputs.nan_to_num(-1), train_of(before).inputs.nan_to_num(-1))
    assert isinstance(after.val, Examples)
    assert 0 in after.val.inputs[:, 2], "a city that nobody has who is learnt from"
    assert "Rome" in made(path, test=0).info.encoder, "unless it is learnt from"


def test_files_of_splits_are_taken_as_they_are() -> None:
    for number, split in enumerate(("train", "val", "test")):
        write_customers(Path(f"all/{split}.csv"), count=30 + number, seed=number)
    splits = made(Path("all"))
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(test_of(splits))) == (30, 31, 32)


def test_the_file_to_test_on_is_not_opened_before_it_is_asked_for() -> None:
    write_customers(Path("all/train.csv"))
    Path("all/test.csv").write_text("nothing")
    splits = made(Path("all"))
    with pytest.raises(DataError, match=r"test\.csv: has no rows"):
        test_of(splits)


def test_columns_of_several_files_may_stand_in_another_order() -> None:
    write_customers(Path("all/a.csv"), count=20)
    rows = cells_of(Path("all/a.csv"))
    names = CUSTOMER[::-1]
    lines = [",".join(row[name] for name in names) for row in rows]
    Path("all/b.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
    inputs = train_of(made(Path("all"), test=0)).inputs.nan_to_num(-1)
    assert torch.equal(inputs[:20], inputs[20:])


def test_a_column_tells_who_rows_are_from(path: Path) -> None:
    splits = made(path, group_by="city", test=0)
    assert splits.groups is not None
    groups = splits.groups()
    assert groups.names == ("Bonn", "Graz", "Lyon", "unknown")
    assert groups.kind == "city"
    rows = cells_of(path)
    assert [groups.names[at] for at in groups.of] == [row["city"] or "unknown" for row in rows]


def test_the_test_is_stratified_and_of_its_own_seed(path: Path) -> None:
    one, again, other = made(path), made(path), made(path, split_seed=1)
    share = np.mean([row["buys"] == "yes" for row in cells_of(path)])
    assert len(test_of(one)) == 12
    assert abs(float(test_of(one).targets.float().mean()) - share) <= 1 / 12
    assert torch.equal(test_of(one).inputs.nan_to_num(), test_of(again).inputs.nan_to_num())
    assert not torch.equal(test_of(one).inputs.nan_to_num(), test_of(other).inputs.nan_to_num())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"label": "bought"}, "has no column bought; it has id, age, income"),
        ({"drop": ["shoe"]}, "has no column shoe"),
        ({"columns": ["city", "city"]}, "data.columns names city twice"),
        ({"drop": list(CUSTOMER[:-1])}, "no column is left beside buys"),
        ({"missing": []}, r"column income has \d+ cells among 48 that are no numbers: 'n.k.'"),
        ({"numbers": ["city"]}, "city: is '(Bonn|Graz|Lyon)' in row"),
        ({"numbers": ["town"]}, "data.numbers names town; the inputs are age, income, city, shop"),
        ({"numbers": ["age"], "categories": ["age"]}, "age stand in data.numbers and data.categories"),
        ({"label": "city", "drop": ["id"]}, r"city is empty in \d+ rows"),
        ({"target": "number"}, "buys is 'no' in row 1; expected a number"),
        ({"missing": ["n.k.", "no"]}, r"buys is empty in \d+ rows"),
        ({"group_by": "town"}, "has no column town"),
        ({"delimiter": ";;"}, "data.delimiter: got ';;'"),
        ({"test": 100}, "data.test: 100 of 60 examples can't be held back"),
    ],
)
def test_what_can_t_be_meant_is_refused(path: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        made(path, **options)


def test_texts_that_tell_rows_apart_are_refused_unless_they_are_named() -> None:
    write_customers(Path("t.csv"), count=300)
    with pytest.raises(DataError, match=r"column id has 240 different texts in 240 rows.*data\.drop"):
        made(Path("t.csv"), drop=["spent"])
    assert made(Path("t.csv"), drop=["spent"], categories=["id"]).info.categories[0] == 241


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no rows"),
        ("x,label\n", "has no rows"),
        ("x,label\n1,a\n2\n", "line 3: has 1 cells; expected 2"),
        ("x,x,label\n1,2,a\n1,2,b\n", "more than one column x"),
        ("x,label\n1,a\n2,a\n", "label is a in every row"),
        ("x,label\n1,1\n2,0\n3,1.0\n", r"label is 1, 1\.0, which are the same number"),
        ("x;label\n1;a\n2;b\n", "has no column label; it has x;label.*set data.delimiter"),
        ('x,label\n"1,a\n', "line 2: .*expected a CSV file"),
    ],
)
def test_files_that_are_no_table_are_refused(text: str, problem: str) -> None:
    Path("t.csv").write_text(text)
    with pytest.raises(DataError, match=problem):
        table(root="t.csv")


def test_files_with_other_columns_are_refused() -> None:
    write_customers(Path("all/a.csv"))
    Path("all/b.csv").write_text("x,label\n1,a\n")
    with pytest.raises(DataError, match=r"b\.csv: its columns are not those of"):
        made(Path("all"))


@pytest.mark.parametrize("column", [[[1, 2], [3, 4]], [b"a", b"b"]])
def test_columns_that_hold_no_cells_are_refused(column: list[Any]) -> None:
    pq.write_table(pa.table({"x": column, "label": ["a", "b"]}), "t.parquet")
    with pytest.raises(DataError, match=r"column x holds .*data\.name: parquet"):
        table(root="t.parquet")


def test_a_damaged_file_is_told() -> None:
    Path("t.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"t\.parquet: unreadable"):
        table(root="t.parquet")
    Path("t.csv").write_bytes(b"x,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match=r"t\.csv: unreadable"):
        table(root="t.csv")
