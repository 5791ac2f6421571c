"""The heart disease files: what becomes of each attribute, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.data.heart_disease import HOSPITALS, heart_disease, read_table
from nnray.data.prepare import prepare
from nnray.data.splits import Examples
from nnray.errors import DataError
from tests.unit.data.heart_files import write_heart

NAN = math.nan
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "heart_disease"
PUBLISHED = [(303, 139), (294, 106), (123, 115), (200, 149)]


def all_of(**options: Any) -> Examples:
    """Training and test patients together."""
    splits = heart_disease(**options)
    assert splits.test is not None
    parts = [splits.train, splits.test()]
    assert all(isinstance(part, Examples) for part in parts)
    return Examples(
        torch.cat([part.inputs for part in parts]),  # type: ignore[union-attr]
        torch.cat([part.targets for part in parts]),  # type: ignore[union-attr]
    )


def written(*lines: str) -> list[list[float]]:
    """Inputs of Cleveland's patients, in the order of their ages."""
    Path("processed.cleveland.data").write_text("\n".join(lines))
    inputs = all_of(root=".", hospitals=["cleveland"]).inputs
    return inputs[inputs[:, 0].argsort()].tolist()  # type: ignore[no-any-return]


def same(one: list[float], other: list[float]) -> bool:
    return np.array_equal(np.array(one, dtype=np.float32), np.array(other, dtype=np.float32), equal_nan=True)


def test_categories_become_an_input_each_and_the_rest_stay_numbers() -> None:
    lines = ["41,1,2,130,204,0,2,172,0,1.4,1,0,3,0", "50,0,4,120,?,1,0,150,1,0.5,3,2,7,2"]
    first, second = written(*lines, *(f"{age},1,1,100,200,0,0,150,0,0,1,0,3,{age % 2}" for age in (70, 71)))[
        :2
    ]
    assert same(first, [41, 1, 0, 1, 0, 0, 130, 204, 0, 0, 0, 1, 172, 0, 1.4, 1, 0, 0, 0, 1, 0, 0])
    assert same(second, [50, 0, 0, 0, 0, 1, 120, NAN, 1, 1, 0, 0, 150, 1, 0.5, 0, 0, 1, 2, 0, 0, 1])


def test_a_missing_category_is_missing_in_all_its_inputs_and_cholesterol_0_is_missing() -> None:
    lines = ["41,?,?,?,0,?,?,?,?,?,?,?,?,0", "50,0,4,120,?,1,0,150,1,0.5,3,2,7,2"]
    first = written(*lines, *(f"{age},1,1,100,200,0,0,150,0,0,1,0,3,{age % 2}" for age in (70, 71)))[0]
    assert same(first, [41, *[NAN] * 21])


def test_any_diagnosis_above_0_is_sick() -> None:
    Path("processed.va.data").write_text(
        "\n".join(f"{50 + i},1,1,100,200,0,0,150,0,0,1,0,3,{i % 5}" for i in range(10))
    )
    whole = all_of(root=".", hospitals=["va"])
    by_age = whole.targets[whole.inputs[:, 0].argsort()]
    assert by_age.tolist() == [0, 1, 1, 1, 1] * 2
    assert heart_disease(root=".", hospitals=["va"]).info.classes == ("healthy", "sick")


def test_hospitals_are_the_groups_and_each_gives_its_share_of_the_test() -> None:
    write_heart(Path("heart_disease"))
    splits = heart_disease(root=".", test=0.3)
    assert splits.groups is not None and splits.test is not None
    groups = splits.groups()
    assert groups.names == HOSPITALS and groups.kind == "hospital"
    assert np.bincount(groups.of).tolist() == [21] * 4
    assert len(splits.test()) == 36
    # 10 of each 30 are healthy, so 3 of the 9 tested are.
    assert int((splits.test().targets == 0).sum()) == 12


def test_a_hospital_alone_has_the_same_split_as_among_the_others() -> None:
    write_heart(Path("heart_disease"))
    together, alone = heart_disease(root="."), heart_disease(root=".", hospitals=["switzerland"])
    assert together.groups is not None and alone.groups is not None
    own = torch.from_numpy(together.groups().of == HOSPITALS.index("switzerland"))
    assert isinstance(together.train, Examples) and isinstance(alone.train, Examples)
    assert torch.equal(together.train.inputs[own].nan_to_num(-1), alone.train.inputs.nan_to_num(-1))
    assert alone.groups().names == ("switzerland",)
    assert set(alone.groups().of.tolist()) == {0}


def test_hospitals_stand_in_one_order_whatever_the_file_says() -> None:
    write_heart(Path("heart_disease"))
    splits = heart_disease(root=".", hospitals=["va", "cleveland"])
    assert splits.groups is not None
    assert splits.groups().names == ("cleveland", "va")


def test_groups_follow_their_patients_through_preparation() -> None:
    write_heart(Path(), count=40)
    whole = heart_disease(root=".")
    ready = prepare(whole, name="heart_disease", seed=4, validation=0.25, limit=60)
    assert whole.groups is not None and ready.groups is not None
    assert isinstance(whole.train, Examples) and isinstance(ready.train, Examples)
    of = dict(zip(map(str, whole.train.inputs.tolist()), whole.groups().of.tolist(), strict=True))
    assert ready.groups().of.tolist() == [of[row] for row in map(str, ready.train.inputs.tolist())]
    assert ready.groups().names == HOSPITALS


def test_statistics_are_of_what_is_known() -> None:
    write_heart(Path(), count=40)
    ready = prepare(heart_disease(root="."), name="heart_disease", seed=0, validation=0)
    assert isinstance(ready.train, Examples)
    x = ready.train.inputs.numpy().astype(np.float64)
    np.testing.assert_allclose(ready.info.mean, np.nanmean(x, axis=0), rtol=1e-12)
    np.testing.assert_allclose(ready.info.std, np.nanstd(x, axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("1,2,3", "expected 14 values, the diagnosis last"),
        ("41,1,2,130,204,0,2,172,0,1.4,1,0,3,?", "expected 14 values, the diagnosis last"),
        ("41,1,2,130,204,0,2,172,0,1.4,1,0,3,-1", "expected 14 values, the diagnosis last"),
        ("41,1,2,130,204,0,2,172,0,1.4,1,0,3,0,7", "expected 14 values"),
        ("age,1,2,130,204,0,2,172,0,1.4,1,0,3,0", "could not convert.*expected a number, or [?]"),
    ],
)
def test_a_wrong_line_is_told_with_its_number(line: str, problem: str) -> None:
    Path("a.data").write_text("41,1,2,130,204,0,2,172,0,1.4,1,0,3,0\n" + line)
    with pytest.raises(DataError, match=rf"a\.data, line 2: .*{problem}"):
        read_table(Path("a.data"))


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b"\n\n", "is empty"), (b"\xff", "unreadable")]
)
def test_a_file_without_patients_is_told(content: bytes, problem: str) -> None:
    Path("a.data").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_table(Path("a.data"))


def test_missing_files_are_named() -> None:
    write_heart(Path("heart_disease"))
    Path("heart_disease/processed.va.data").unlink()
    with pytest.raises(DataError, match=r"heart_disease: processed\.va\.data not found.*data\.root"):
        heart_disease(root=".")
    assert len(all_of(root=".", hospitals=["cleveland", "hungarian", "switzerland"])) == 90


def test_no_hospital_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.hospitals: is empty; allowed: one or more of cleveland"):
        heart_disease(root=".", hospitals=[])


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
@pytest.mark.parametrize(("number", "published"), list(enumerate(PUBLISHED)))
def test_published_files_have_their_published_counts(number: int, published: tuple[int, int]) -> None:
    """Patients and sick ones, as the data set's own table tells them."""
    whole = all_of(root=str(SHARED), hospitals=[HOSPITALS[number]])
    assert (len(whole), int(whole.targets.sum())) == published


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
def test_published_cholesterol_is_missing_where_it_is_0() -> None:
    chol = all_of(root=str(SHARED), hospitals=["switzerland"]).inputs[:, 7]
    assert bool(chol.isnan().all())
