"""The keywords by which every verb after training finds and opens its model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnray import api
from nnray.api.named import Opening, open_model, root_of, store_of

VERBS: dict[str, Callable[..., Any]] = {
    "attack": lambda model, **opening: api.attack(model, **opening),
    "compress": lambda model, **opening: api.compress(model, "magnitude:sparsity=0.5", **opening),
    "evaluate": lambda model, **opening: api.evaluate(model, **opening),
    "explain": lambda model, **opening: api.explain(model, **opening),
    "export": lambda model, **opening: api.export(model, to="safetensors", **opening),
    "predict": lambda model, **opening: api.predict(model, "a.npz", **opening),
    "serve": lambda model, **opening: api.serve(model, port=0, **opening),
}


class Opened(Exception):
    """The model would be opened now."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a model is looked for by; none is opened."""
    seen: dict[str, Any] = {}

    def open_subject(reference: str, **places: Any) -> None:
        seen.update(places, reference=reference)
        raise Opened

    monkeypatch.setattr("nnray.runners.subject.open_subject", open_subject)
    return seen


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_opens_its_model_by_all_of_them(verb: str, asked: dict[str, Any]) -> None:
    opening: Opening = {"root": "r", "tracking": "sqlite:///x", "trust": True, "experiment": "e.yaml"}
    with pytest.raises(Opened):
        VERBS[verb]("digits@champion", **opening)
    wanted = {
        "reference": "digits@champion",
        "root": Path("r"),
        "tracking": "sqlite:///x",
        "trust": True,
        "experiment": Path("e.yaml"),
    }
    assert asked == wanted


@pytest.mark.parametrize("verb", VERBS)
def test_all_of_them_may_be_left_out(verb: str, asked: dict[str, Any]) -> None:
    with pytest.raises(Opened):
        VERBS[verb](Path("runs") / "digits")
    wanted = {
        "reference": "runs/digits",
        "root": Path("runs"),
        "tracking": None,
        "trust": False,
        "experiment": None,
    }
    assert asked == wanted


@pytest.mark.parametrize("verb", VERBS)
def test_another_keyword_is_a_type_error(verb: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'rot'"):
        VERBS[verb]("digits@champion", rot="runs")


def test_the_keywords_are_those_of_the_function_that_opens() -> None:
    parameters = inspect.signature(open_model).parameters
    assert Opening.__annotations__.keys() == parameters.keys() - {"model"}


@pytest.mark.parametrize(("uri", "reference"), [("models:/m-1", "models:/m-1"), ("", "runs/digits")])
def test_what_a_verb_gave_is_found_where_it_was_recorded(
    uri: str, reference: str, asked: dict[str, Any]
) -> None:
    gave: Any = SimpleNamespace(model_uri=uri, folder=Path("runs/digits"), tracking_uri="sqlite:///its.db")
    with pytest.raises(Opened):
        open_model(gave)
    assert (asked["reference"], asked["tracking"]) == (reference, "sqlite:///its.db")
    with pytest.raises(Opened):
        open_model(gave, tracking="sqlite:///other.db")
    assert asked["tracking"] == "sqlite:///other.db"
    assert (store_of(gave), store_of("digits"), store_of(Path("digits"))) == ("sqlite:///its.db", None, None)


def test_the_folder_of_runs_is_a_path() -> None:
    assert root_of({}) == Path("runs")
    assert root_of({"root": "elsewhere"}) == Path("elsewhere")


def test_a_baseline_is_looked_for_in_the_store_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, Any]] = []

    def open_subject(reference: str, **places: Any) -> object:
        opened.append({"reference": reference, **places})
        if len(opened) == 2:
            raise Opened
        return SimpleNamespace()

    monkeypatch.setattr("nnray.runners.subject.open_subject", open_subject)
    gave: Any = SimpleNamespace(model_uri="models:/m-1", folder=Path(), tracking_uri="sqlite:///its.db")
    with pytest.raises(Opened):
        api.attack(gave, corruptions="all", baseline="other", root="r", trust=True, experiment="e.yaml")
    model, baseline = opened
    assert (model["reference"], model["experiment"]) == ("models:/m-1", Path("e.yaml"))
    # The experiment's file is of the model alone.
    assert baseline == {**model, "reference": "other", "experiment": None}
