"""Laws of names, flags and keys: what any tracker is given, every store takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.tracking.tracker import NOT_FINITE, MetricRow, clean_name, run_key, with_flags


@given(st.text(max_size=400))
def test_a_clean_name_is_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    _validate_metric_name(clean_name(name) + NOT_FINITE)
    _validate_param_name(clean_name(name))
    assert len(clean_name(name) + NOT_FINITE) <= 250


@given(st.text(max_size=400))
def test_cleaning_a_name_twice_changes_nothing(name: str) -> None:
    assert clean_name(clean_name(name)) == clean_name(name)


@pytest.mark.parametrize(
    "name", ["val_loss", "optimizer.lr", "f1_T-shirt/top", "a b:c", "sweep.space.model.dropout", "größe"]
)
def test_a_name_that_is_allowed_stays(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize(
    ("name", "clean"), [("../../etc", "etc"), ("a//b/", "a/b"), ("f1_50%", "f1_50_"), ("..", "_")]
)
def test_a_name_that_is_not_allowed_is_replaced(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_each_value_that_is_not_finite_has_a_flag_and_no_other_has_one(values: list[float]) -> None:
    rows = [MetricRow("loss", value, step, 7) for step, value in enumerate(values)]
    flagged = {row.step for row in with_flags(rows) if row.key == "loss" + NOT_FINITE}
    assert flagged == {step for step, value in enumerate(values) if not math.isfinite(value)}


def test_rows_keep_their_order_step_and_time() -> None:
    rows = [MetricRow("b", 1.0, 2, 30), MetricRow("a", 0.5, 1, 40)]
    assert list(with_flags(rows)) == rows


def test_a_run_is_known_by_its_key_else_its_name_below_its_parent() -> None:
    assert run_key("mnist-train-1", key=None, parent=None) == "mnist-train-1"
    assert run_key("trial 3", key=None, parent="mnist-sweep-1") == "mnist-sweep-1/trial 3"
    assert run_key("trial 3", key="mnist-sweep-1/3", parent="mnist-sweep-1") == "mnist-sweep-1/3"
