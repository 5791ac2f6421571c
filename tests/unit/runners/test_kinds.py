"""Verbs for models that tell a class refuse others in a sentence, and take every kind of input they can."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

from nnray.data.splits import DataInfo, TargetKind
from nnray.errors import DataError
from nnray.explainers.gradients import saliency
from nnray.explainers.shap import shap
from nnray.runners.export.verify import BATCHES, inputs_like
from nnray.runners.kinds import require_classes, require_quantities, scores_classes, tells_classes
from nnray.tasks.adversarial_generation import AdversarialGeneration
from nnray.tasks.classification import classification

ROWS = DataInfo("rows", (4,), tuple("ab"), (0.0, 5.0, 0.0, 5.0), (1.0, 2.0) * 2, categories=(4, 0, 2, 0))
TEXTS = DataInfo("texts", (6,), tuple("ab"), vocabulary=9)
SERIES = DataInfo("series", (2, 7), (), (100.0, 5.0), (10.0, 1.0), targets="numbers", target_shape=(2, 3))
PIXELS = DataInfo("pixels", (1, 8, 8), tuple("ab"), (0.5,), (0.2,))


@pytest.mark.parametrize("kind", get_args(TargetKind))
@pytest.mark.parametrize("verb", ["explain", "attack"])
def test_models_of_other_answers_are_refused_with_what_there_is_for_them(verb: str, kind: TargetKind) -> None:
    info, task = replace(PIXELS, targets=kind), classification(PIXELS)
    assert tells_classes(info, task) == (kind == "class")
    assert scores_classes(info, task) == (kind in ("class", "classes"))
    if kind == "class":
        require_classes(info, task, verb=verb)
        return
    with pytest.raises(DataError, match=rf"{verb} is for models that tell one class.*pixels.*nnray evaluate"):
        require_classes(info, task, verb=verb)


def test_a_task_may_answer_with_something_else_than_its_datas_classes() -> None:
    """Also where it gives as many numbers as there are classes."""
    task = AdversarialGeneration(output_shape=(PIXELS.num_classes,))
    assert not tells_classes(PIXELS, task) and not scores_classes(PIXELS, task)
    with pytest.raises(DataError, match=r"answers with something else: take its mean"):
        require_classes(PIXELS, task, verb="vote", instead="take its mean")


def test_tokens_and_categories_are_no_quantities() -> None:
    require_quantities(PIXELS, "attack", instead="")
    require_quantities(replace(ROWS, categories=()), "attack", instead="")
    with pytest.raises(DataError, match=r"a column of data set rows names a category"):
        require_quantities(ROWS, "attack", instead="")
    named = replace(ROWS, categories=(0, 4, 0, 0), features=("age", "shop", "c", "d"))
    with pytest.raises(DataError, match=r"shop of data set rows names a category, of which there is no half"):
        require_quantities(named, "attack", instead="")
    with pytest.raises(DataError, match=r"texts are tokens.*: use shap"):
        require_quantities(TEXTS, "attack", instead="use shap")


def test_an_explainer_says_whether_it_takes_codes() -> None:
    assert shap(TEXTS, seed=0).takes_codes  # type: ignore[attr-defined]
    assert not getattr(saliency(TEXTS), "takes_codes", False)


@pytest.mark.parametrize("info", [ROWS, TEXTS, PIXELS, SERIES, replace(ROWS, missing=True)])
@pytest.mark.parametrize("count", BATCHES)
def test_inputs_for_a_comparison_are_of_the_kind_that_a_model_takes(info: DataInfo, count: int) -> None:
    found = inputs_like(info, count)
    assert found.shape == (count, *info.input_shape) and found.dtype == info.blank().dtype
    assert torch.equal(found.nan_to_num(), inputs_like(info, count).nan_to_num())
    if info is SERIES:
        assert bool((found[:, 0] > 30).all() and (found[:, 1] < 30).all()), "spread as in the training split"
    if info.vocabulary:
        assert found.min() >= 0 and found.max() < info.vocabulary
    for place, codes in enumerate(info.categories):
        column = found[:, place][~found[:, place].isnan()]
        if codes:
            assert torch.equal(column, column.round()) and bool(((column >= 0) & (column < codes)).all())
    assert bool(found.isnan().any()) == info.missing
