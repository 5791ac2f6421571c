"""What a verb came to, as people and scripts read it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nnray.runners.explanation.result import Explanation, words
from nnray.runners.outcome import Outcome, near, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Outcome):
    """With something of its own."""

    folder: Path


def test_an_outcome_is_json_with_what_a_verb_adds() -> None:
    told = Told(verb="tell", seconds=0.5, metrics={"x": 1.0}, files=["a"], folder=Path("b") / "c")
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False)) == {
        "verb": "tell",
        "seconds": 0.5,
        "run_id": "",
        "model_uri": "",
        "model_sha256": "",
        "tracking_uri": "",
        "metrics": {"x": 1.0},
        "files": ["a"],
        "folder": "b/c",
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_null(value: float) -> None:
    assert plain({"a": [value, 1.0], "b": (value,)}) == {"a": [None, 1.0], "b": [None]}


@pytest.mark.parametrize("value", [0.0, -1.5, 3, True, None, "NaN", [], {}])
def test_the_rest_stays_as_it_is(value: Any) -> None:
    assert plain(value) == value
    assert type(plain(value)) is type(value)


def test_people_see_metrics_in_a_column_and_files() -> None:
    shown = Outcome(verb="tell", seconds=0.5, metrics={"loss": 0.25, "accuracy": 0.5}, files=["a.png"])
    assert shown.summary().splitlines() == ["loss      0.2500", "accuracy  0.5000", "written  a.png"]
    assert Outcome(verb="tell", seconds=0.5).summary() == ""


def test_a_path_is_shown_from_the_folder_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert near(tmp_path / "runs" / "a.png") == "runs/a.png"
    assert near("runs/a.png") == "runs/a.png"
    assert near(tmp_path.parent / "a.png") == str(tmp_path.parent / "a.png")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "done"),
        ({"layer": "net.3"}, "layer net.3"),
        (
            {"completeness_error": 0.001, "completeness_error_max": 0.02},
            "adds up to the gain in score within 0.10% on average, 2.00% at worst",
        ),
        ({"randomised": []}, "done"),
        (
            {"randomised": [{"correlation": 0.99}, {"correlation": 0.125}]},
            "rank correlation 0.12 with that of random weights",
        ),
        (
            {"randomised": [{"correlation": 0.1}, {"correlation": 0.96}]},
            (
                "rank correlation 0.96 with that of random weights; so it hardly depends on what was learnt: "
                "don't trust it"
            ),
        ),
    ],
)
def test_checks_of_an_explanation_are_said_in_words(facts: dict[str, Any], said: str) -> None:
    assert words(facts) == said


def test_an_explanation_says_what_the_model_took_each_example_for() -> None:
    example = {"name": "test 3", "label": "cat", "predicted": "dog", "target": "dog", "confidence": 0.875}
    found = Explanation(
        verb="explain",
        seconds=0.5,
        files=["saliency.png"],
        examples=[
            example,
            {**example, "label": "dog"},
            {**example, "label": None, "target": "cat"},
        ],
        methods={"saliency": {"name": "saliency"}},
        attributions={},
    )
    assert found.summary().splitlines() == [
        "test 3: dog (87.5%), is cat",
        "test 3: dog (87.5%), is dog",
        "test 3: dog (87.5%), explained: cat",
        "saliency: done",
        "written  saliency.png",
    ]
    assert "attributions" not in found.to_dict()
