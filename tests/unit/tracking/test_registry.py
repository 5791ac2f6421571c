"""Registered models of a store: listed whole, newest first; registered and pointed to once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from nnray.errors import RunError, TrackingError
from nnray.tracking import MetricRow, MlflowTracker, registry
from nnray.tracking.client import make_client
from nnray.tracking.registry import holder_of, list_models, register_model, set_alias, tag_run, versions_of
from nnray.training.weights import weights_safetensors

LONG_S = 120.0
EXAMPLE = np.zeros((2, 4), np.float32)


@pytest.fixture
def tracker(store_uri: str) -> Iterator[MlflowTracker]:
    made = MlflowTracker(store_uri, experiment="models")
    yield made
    made.close(LONG_S)


@pytest.fixture
def client(store_uri: str) -> Any:
    return make_client(store_uri)


def log(tracker: MlflowTracker, key: str, *, register: str | None = None, alias: str = "champion") -> str:
    """A run with a model; its model id comes back."""
    module = nn.Linear(4, 3)
    run = tracker.start_run(name=key, verb="train")
    tracker.log_metrics(run, [MetricRow("val_loss", 1 / step, step, step) for step in (1, 2, 3)])
    files = {"weights.safetensors": weights_safetensors(module)}
    metrics = {"val_loss": 0.5}
    logged = tracker.log_model(
        run, module=module, example=EXAMPLE, step=2, sha256="ab" * 32, metrics=metrics, files=files
    )
    if register is not None:
        tracker.register(run, register, alias=alias).result(LONG_S)
    return logged.result(LONG_S).model_id


def test_a_version_says_whose_it_is_and_how_good(tracker: MlflowTracker, store_uri: str) -> None:
    model_id = log(tracker, "one", register="net")
    (version,) = list_models(store_uri)
    assert (version.reference, version.aliases, version.model_id) == ("net/1", ("champion",), model_id)
    assert version.run.startswith("one") and len(version.run_id) == 32 and version.made_ms > 0
    assert version.sha256 == "ab" * 32
    assert version.num_weights == 4 * 3 + 3


def test_metrics_are_those_of_the_weights_not_of_the_last_epoch(
    tracker: MlflowTracker, store_uri: str
) -> None:
    log(tracker, "one", register="net")
    assert list_models(store_uri)[0].metrics["val_loss"] == 0.5


def test_what_was_found_out_since_is_shown(tracker: MlflowTracker, store_uri: str) -> None:
    log(tracker, "one", register="net")
    run_id = list_models(store_uri)[0].run_id
    tracker.log_metrics(tracker_key(tracker, run_id), [MetricRow("evaluate.test.accuracy", 0.75, 0, 9)])
    assert tracker.flush(LONG_S) == 0
    assert list_models(store_uri)[0].metrics["evaluate.test.accuracy"] == 0.75


def tracker_key(tracker: MlflowTracker, run_id: str) -> str:
    from nnray.tracking.lookup import key_of

    key = key_of(tracker.uri, run_id)
    assert key is not None
    return key


def test_the_newest_comes_first_over_all_names_and_pages(
    tracker: MlflowTracker, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_PAGE", 2)
    model_id = log(tracker, "one")
    for name in ("a", "b", "c", "d", "e"):
        register_model(store_uri, name, model_id=model_id)
    log(tracker, "two", register="a")
    found = list_models(store_uri)
    assert [version.reference for version in found] == ["a/2", "e/1", "d/1", "c/1", "b/1", "a/1"]
    assert [version.reference for version in list_models(store_uri, "a")] == ["a/2", "a/1"]
    assert {version.name for version in versions_of(store_uri, model_id)} == set("abcde")


def test_an_unknown_name_is_said_with_near_ones(tracker: MlflowTracker, store_uri: str) -> None:
    log(tracker, "one", register="digits")
    with pytest.raises(RunError, match=r"no model is registered as 'digist'.* did you mean 'digits'"):
        list_models(store_uri, "digist")


def test_an_empty_store_has_none_and_says_so(store_uri: str) -> None:
    assert list_models(store_uri) == []
    assert holder_of(store_uri, "net", alias="champion") is None
    with pytest.raises(RunError, match="nnray train"):
        list_models(store_uri, "net")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert list_models(f"sqlite:///{tmp_path}/none.db") == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a data base, but a text that is long enough to be looked at")
    with pytest.raises(TrackingError, match=r"x\.db"):
        list_models(f"sqlite:///{tmp_path}/x.db")


def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        list_models("http://127.0.0.1:9")


def test_a_model_is_registered_once(tracker: MlflowTracker, store_uri: str, client: Any) -> None:
    model_id = log(tracker, "one")
    first = register_model(store_uri, "net", model_id=model_id)
    again = register_model(store_uri, "net", model_id=model_id)
    assert first == again and first.reference == "net/1" and first.aliases == ()
    assert len(client.search_model_versions("name = 'net'")) == 1
    import mlflow.pyfunc

    assert mlflow.pyfunc.load_model("models:/net/1").predict(EXAMPLE).shape == (2, 3)


def test_a_model_that_is_gone_is_not_registered(tracker: MlflowTracker, store_uri: str) -> None:
    with pytest.raises(TrackingError, match="m-0"):
        register_model(store_uri, "net", model_id="m-" + "0" * 32)
    assert list_models(store_uri) == []


def test_an_alias_moves(tracker: MlflowTracker, store_uri: str) -> None:
    log(tracker, "one", register="net")
    second = register_model(store_uri, "net", model_id=log(tracker, "two"))
    set_alias(second, "champion", uri=store_uri)
    set_alias(second, "staging", uri=store_uri)
    for alias in ("champion", "staging"):
        holder = holder_of(store_uri, "net", alias=alias)
        assert holder is not None and holder.reference == "net/2"
    assert [version.aliases for version in list_models(store_uri)] == [("champion", "staging"), ()]
    assert holder_of(store_uri, "other", alias="champion") is None


def test_a_deleted_run_or_model_leaves_its_version_listed(
    tracker: MlflowTracker, store_uri: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = log(tracker, "one", register="net")
    client.delete_logged_model(model_id)
    (version,) = list_models(store_uri)
    assert (version.reference, version.sha256, version.num_weights) == ("net/1", "", None)
    assert version.run.startswith("one")


def test_weights_that_are_elsewhere_or_damaged_are_not_counted(
    tracker: MlflowTracker, store_uri: str, client: Any
) -> None:
    model_id = log(tracker, "one", register="net")
    place = Path(client.get_logged_model(model_id).artifact_location) / "weights.safetensors"
    for damage in (b"", b"\x05", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b"\x09\0\0\0\0\0\0\0" + b'{"a":[1]}'):
        place.write_bytes(damage)
        assert list_models(store_uri)[0].num_weights is None
    place.unlink()
    assert list_models(store_uri)[0].num_weights is None


def test_tags_are_set_by_the_stores_own_id(tracker: MlflowTracker, store_uri: str, client: Any) -> None:
    log(tracker, "one", register="net")
    run_id = list_models(store_uri)[0].run_id
    tag_run(store_uri, run_id, tags={"nnray.promoted.champion": "net/1"})
    assert client.get_run(run_id).data.tags["nnray.promoted.champion"] == "net/1"
    with pytest.raises(TrackingError):
        tag_run(store_uri, "0" * 32, tags={"a": "b"})
