"""Cells to numbers: codes of categories, missing and unseen ones, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from nnray.data.table_columns import (
    MISSING,
    Encoder,
    encoder_from_json,
    fit_encoder,
    is_number,
    is_of_table,
)
from nnray.errors import DataError

NAMES = ("colour", "size")
ROWS = [["red", "1.5"], ["blue", "-2"], ["?", ""], [" red ", "3e2"]]
CELLS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "?"]), st.sampled_from(["1", "2.5", "?"])))


def fitted() -> Encoder:
    return fit_encoder(ROWS, NAMES, quantities=["size"], where="t")


def test_codes_go_from_1_in_sorted_order_and_0_is_missing() -> None:
    inputs = fitted().encode(ROWS, where="t")
    assert inputs.dtype == torch.float32
    assert inputs[:, 0].tolist() == [2, 1, 0, 2]
    assert inputs[[0, 1, 3], 1].tolist() == [1.5, -2, 300]
    assert math.isnan(float(inputs[2, 1]))


@pytest.mark.parametrize("cell", MISSING)
def test_every_word_for_missing_is_missing_in_both_kinds(cell: str) -> None:
    inputs = fitted().encode([[cell, cell]], where="t")
    assert inputs[0, 0] == 0
    assert math.isnan(float(inputs[0, 1]))


def test_a_category_that_training_has_not_seen_is_0() -> None:
    assert fitted().encode([["green", "1"]], where="t")[0].tolist() == [0, 1]


@given(train=CELLS.filter(bool), test=CELLS, other=CELLS)
def test_rows_to_test_on_change_nothing_that_was_learnt(
    train: list[tuple[str, str]], test: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    """The same training rows are encoded alike, each row by itself, whatever stands beside it."""
    encoder = fit_encoder(train, NAMES, quantities=["size"], where="t")
    alone = encoder.encode(train, where="t")
    for beside in (test, other):
        together = encoder.encode([*train, *beside], where="t")
        assert torch.equal(alone.nan_to_num(-1), together[: len(train)].nan_to_num(-1))


@given(train=CELLS.filter(bool))
def test_codes_don_t_depend_on_the_order_of_rows(train: list[tuple[str, str]]) -> None:
    one = fit_encoder(train, NAMES, quantities=["size"], where="t")
    assert one == fit_encoder(train[::-1], NAMES, quantities=["size"], where="t")


def test_json_makes_a_round_trip() -> None:
    assert encoder_from_json(fitted().to_json()) == fitted()
    assert encoder_from_json(fitted().to_json()).categories == (("blue", "red"), None)


def test_info_counts_codes_with_0_among_them() -> None:
    info = fitted().info("t", classes=("no", "yes"), train=fitted().encode(ROWS, where="t"))
    assert info.categories == (3, 0)
    assert info.features == NAMES
    assert info.missing
    assert info.encoder == fitted().to_json()
    assert not fitted().info("t", train=fitted().encode(ROWS[:2], where="t")).missing
    assert Encoder(("size",), (None,)).info("t", train=torch.zeros(1, 1)).categories == ()


def test_moments_are_of_quantities_that_are_known() -> None:
    train = Examples(fitted().encode(ROWS, where="t"), torch.tensor([0, 1, 0, 1]))
    info = fitted().info("t", classes=("no", "yes"), train=train.inputs)
    ready = prepare(DataSplits(train, None, None, info), name="t", seed=0, validation=0)
    known = torch.tensor([1.5, -2, 300], dtype=torch.float64)
    assert ready.info.mean == pytest.approx((0, float(known.mean())))
    assert ready.info.std == pytest.approx((1, float(known.std(correction=0))))


def test_a_missing_quantity_is_refused_where_training_has_none() -> None:
    full = Examples(fitted().encode(ROWS[:2], where="t"), torch.tensor([0, 1]))
    info = fitted().info("t", classes=("no", "yes"), train=full.inputs)
    gap = Examples(fitted().encode(ROWS[2:3], where="t"), torch.tensor([0]))
    splits = DataSplits(full, None, lambda: gap, info)
    ready = prepare(splits, name="t", seed=0, validation=0)
    assert ready.test is not None
    with pytest.raises(DataError, match="t: test: example 0 holds nan"):
        ready.test()
    allowed = prepare(replace(splits, info=replace(info, missing=True)), name="t", seed=0, validation=0)
    assert allowed.test is not None
    assert len(allowed.test()) == 1


@pytest.mark.parametrize("cell", ["tall", "1,5", "1_000", "inf", "-Infinity"])
def test_a_quantity_that_is_no_number_is_told_with_its_place(cell: str) -> None:
    with pytest.raises(DataError, match=rf"t: size: is '{cell}' in row 2; expected a finite number"):
        fitted().encode([["red", "1"], ["red", cell]], where="t")
    assert not is_number(cell)


@pytest.mark.parametrize(
    ("rows", "problem"), [([], "has no rows"), ([["a", "1"], ["b"]], "row 2 has 1 cells")]
)
def test_rows_of_another_form_are_refused(rows: list[list[str]], problem: str) -> None:
    with pytest.raises(DataError, match=f"t: {problem}"):
        fit_encoder(rows, NAMES, quantities=["size"], where="t")
    with pytest.raises(DataError, match=f"t: {problem}"):
        fitted().encode(rows, where="t")


def test_an_indicator_tells_that_a_quantity_is_missing() -> None:
    encoder = fit_encoder(ROWS, NAMES, quantities=["size"], where="t", indicators=True)
    inputs = encoder.encode([["red", "?"], ["?", "2"]], where="t")
    assert encoder.features == ("colour", "size", "size is missing")
    assert inputs[:, 2].tolist() == [1, 0]
    info = encoder.info("t", classes=("no", "yes"), train=inputs)
    assert (info.input_shape, info.categories, info.features) == ((3,), (3, 0, 2), encoder.features)
    assert encoder_from_json(encoder.to_json()) == encoder


def test_a_quantity_that_is_always_there_has_no_indicator() -> None:
    encoder = fit_encoder(ROWS[:2], NAMES, quantities=["size"], where="t", indicators=True)
    assert encoder.features == NAMES


def test_other_words_may_stand_for_missing() -> None:
    encoder = fit_encoder(ROWS, NAMES, quantities=["size"], where="t", missing=["blue", "-2"])
    assert encoder.categories == (("red",), None)
    assert encoder.encode([["blue", "-2"]], where="t").isnan().tolist() == [[False, True]]
    assert encoder_from_json(encoder.to_json()) == encoder


def test_encoders_of_tables_are_told_from_others() -> None:
    assert is_of_table(fitted().to_json())
    assert not is_of_table("")
    assert not is_of_table('{"model": {}}')


def test_inputs_are_told_as_the_cells_that_they_stand_for() -> None:
    encoder = Encoder(("age", "shop", "zip"), (None, ("north", "south"), ("10",)), ("age",))
    rows = [["31.25", "south", "10"], ["?", "east", ""]]
    inputs = encoder.encode(rows, where="here")
    assert encoder.texts(inputs[0]) == ["31.2", "south", "10", "no"]
    assert encoder.texts(inputs[1]) == ["nan", "?", "?", "yes"]
