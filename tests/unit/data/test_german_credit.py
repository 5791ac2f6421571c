"""German credit: types of columns, the split, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnray.data.german_credit import COLUMNS, QUANTITIES, german_credit
from nnray.data.prepare import prepare
from nnray.data.splits import Examples
from nnray.errors import DataError
from tests.unit.data.table_files import write_german

FIRST = "A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201 1"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "german_credit"


def parts(**options: object) -> tuple[Examples, Examples]:
    splits = german_credit(**options)  # type: ignore[arg-type]
    assert splits.test is not None and isinstance(splits.train, Examples)
    test = splits.test()
    assert isinstance(test, Examples)
    return splits.train, test


def test_quantities_stay_numbers_and_the_rest_are_codes() -> None:
    write_german(Path())
    splits = german_credit(root=".")
    assert splits.info.features == COLUMNS
    quantities = [name for name, n in zip(COLUMNS, splits.info.categories, strict=True) if not n]
    assert quantities == list(QUANTITIES)
    assert splits.info.classes == ("good", "bad")
    assert not splits.info.missing


def test_the_test_is_stratified_and_the_same_unless_asked() -> None:
    write_german(Path())
    train, test = parts(root=".", test=0.25)
    assert (len(train), len(test), int(test.targets.sum())) == (45, 15, 5)
    assert torch.equal(test.inputs, parts(root=".", test=0.25)[1].inputs)
    assert not torch.equal(test.inputs, parts(root=".", test=0.25, split_seed=1)[1].inputs)


def test_a_category_of_the_test_alone_gets_no_code() -> None:
    """What a test applicant has that no other has, can't be known when codes are given."""
    write_german(Path())
    path, (before, held) = Path("german.data"), parts(root=".")
    lines = path.read_text().splitlines()
    amount = f" {int(held.inputs[0, 4])} "
    at = next(number for number, line in enumerate(lines) if amount in line)
    lines[at] = lines[at].replace(lines[at].split()[0], "A00", 1)
    path.write_text("\n".join(lines))
    after, changed = parts(root=".")
    assert torch.equal(before.inputs, after.inputs)
    assert changed.inputs[0, 0] == 0
    assert torch.equal(changed.inputs[1:], held.inputs[1:])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (FIRST[:-2], "row 2 has 20 cells; expected 21"),
        (FIRST[:-1] + "3", "row 2 ends in '3'; expected 1"),
        (FIRST.replace("1169", "much"), "credit_amount: is 'much'"),
    ],
)
def test_a_wrong_line_is_told(line: str, problem: str) -> None:
    Path("german.data").write_text("\n".join([FIRST, line, *[FIRST, FIRST[:-1] + "2"] * 4]))
    with pytest.raises(DataError, match=problem):
        german_credit(root=".")


def test_an_unreadable_file_is_told() -> None:
    Path("german.data").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"german\.data: unreadable .*replace it"):
        german_credit(root=".")


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
def test_the_published_file_has_its_published_counts() -> None:
    train, test = parts(root=str(SHARED))
    assert (len(train), len(test), int(test.targets.sum())) == (800, 200, 60)
    assert int(train.targets.sum()) == 240


def test_applicants_held_back_to_choose_by_have_no_part_in_the_codes() -> None:
    """What stands in their cells alone gets no code, and changes nothing of what is learnt from."""
    write_german(Path())
    before = prepare(german_credit(root="."), name="german_credit", seed=0, validation=0.2)
    assert before.val is not None
    amount = f" {int(before.val.inputs[0, 4])} "  # type: ignore[union-attr]
    path = Path("german.data")
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if amount in line)
    lines[at] = lines[at].replace(lines[at].split()[0], "A10", 1)
    path.write_text("\n".join(lines))
    after = prepare(german_credit(root="."), name="german_credit", seed=0, validation=0.2)
    assert after.info.encoder == before.info.encoder
    assert "A10" in german_credit(root=".").info.encoder, "before anyone was held back"
    assert torch.equal(after.train.inputs, before.train.inputs)  # type: ignore[union-attr]
    assert after.val is not None and after.val.inputs[0, 0] == 0  # type: ignore[union-attr]
