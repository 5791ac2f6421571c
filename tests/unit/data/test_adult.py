"""Adult: its two files, their quirks, groups, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from nnray.data.adult import COLUMNS, QUANTITIES, adult, read_people
from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from nnray.data.table_columns import encoder_from_json
from nnray.errors import DataError
from tests.unit.data.table_files import JOBS, write_adult

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "adult"
ROW = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, "
    "40, United-States, <=50K"
)


def held_of(splits: DataSplits) -> Examples:
    assert splits.test is not None
    examples = splits.test()
    assert isinstance(examples, Examples)
    return examples


def train_of(splits: DataSplits) -> Examples:
    assert isinstance(splits.train, Examples)
    return splits.train


def test_files_may_be_plain_or_gzipped() -> None:
    write_adult(Path("adult"))
    gzipped = adult(root=".")
    Path("plain").mkdir()
    for name in ("adult.data", "adult.test"):
        path = Path("adult", name)
        text = gzip.decompress(Path(f"{path}.gz").read_bytes()) if not path.exists() else path.read_bytes()
        Path("plain", name).write_bytes(text)
    plain = adult(root="plain")
    assert torch.equal(train_of(gzipped).inputs, train_of(plain).inputs)
    assert torch.equal(held_of(gzipped).inputs, held_of(plain).inputs)
    assert (len(train_of(plain)), len(held_of(plain))) == (60, 20)


def test_columns_are_typed_and_question_marks_are_code_0() -> None:
    write_adult(Path("adult"))
    splits = adult(root=".")
    quantities = [name for name, n in zip(COLUMNS, splits.info.categories, strict=True) if not n]
    assert quantities == list(QUANTITIES)
    cells, _ = read_people(Path("adult/adult.data.gz"))
    at = COLUMNS.index("occupation")
    missing = [row[at] == "?" for row in cells]
    assert any(missing)
    assert (train_of(splits).inputs[:, at] == 0).tolist() == missing


def test_the_test_file_tells_the_encoder_nothing() -> None:
    write_adult(Path("adult"))
    before = adult(root=".")
    known_before = held_of(before).inputs[:, 3] == 1
    path = Path("adult/adult.test")
    path.write_text(path.read_text().replace("Bachelors", "Doctorate"))
    after = adult(root=".")
    assert after.info == before.info
    assert torch.equal(train_of(after).inputs, train_of(before).inputs)
    known = encoder_from_json(after.info.encoder).categories[COLUMNS.index("education")]
    assert known == ("Bachelors", "HS-grad", "Masters")
    assert (held_of(after).inputs[:, 3] == 0).tolist() == known_before.tolist()
    assert known_before.any()


def test_groups_are_what_people_do_unless_asked_otherwise() -> None:
    write_adult(Path("adult"))
    splits = adult(root=".")
    assert splits.groups is not None
    groups = splits.groups()
    assert groups.names == (*sorted(JOBS), "unknown")
    assert groups.kind == "occupation"
    codes = train_of(splits).inputs[:, COLUMNS.index("occupation")].numpy()
    assert np.array_equal(np.where(codes == 0, len(JOBS), codes - 1), groups.of)
    other = adult(root=".", group_by="education")
    assert other.groups is not None
    assert other.groups().names == ("Bachelors", "HS-grad", "Masters")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (ROW.replace(", 40", ""), "row 2 has 14 cells; expected 15"),
        (ROW.replace("<=50K", "rich"), "a row ends in 'rich'; expected <=50K or >50K"),
        (ROW.replace("39", "old"), "age: is 'old' in row 2"),
    ],
)
def test_a_wrong_row_is_told(line: str, problem: str) -> None:
    for name in ("adult.data", "adult.test"):
        Path(name).write_text(f"{ROW}\n{line}\n")
    with pytest.raises(DataError, match=problem):
        adult(root=".")


def test_a_broken_archive_is_told() -> None:
    write_adult(Path())
    Path("adult.data.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"adult\.data\.gz: unreadable .*replace it"):
        adult(root=".")


def test_the_missing_file_is_named_with_all_places() -> None:
    write_adult(Path())
    Path("adult.test").unlink()
    with pytest.raises(DataError, match=r"none of .*adult/adult\.test, .*adult\.test\.gz is there; set data"):
        adult(root=".")


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
def test_published_files_have_their_published_counts() -> None:
    splits = adult(root=str(SHARED))
    for examples, counts in ((train_of(splits), [24_720, 7_841]), (held_of(splits), [12_435, 3_846])):
        assert examples.targets.bincount().tolist() == counts


def test_categories_are_those_of_the_people_who_are_learnt_from() -> None:
    write_adult(Path("adult"))
    few = prepare(adult(root="."), name="adult", seed=0, validation=0.2, limit=4)
    known = encoder_from_json(few.info.encoder).categories[COLUMNS.index("native_country")]
    codes = few.train.inputs[:, COLUMNS.index("native_country")]  # type: ignore[union-attr]
    assert known is not None
    assert set(codes.tolist()) - {0.0} == set(range(1, 1 + len(known)))
    assert few.groups is not None
    assert len(few.groups().of) == len(few.train) == 4
