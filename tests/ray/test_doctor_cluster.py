"""A cluster of two nodes examines itself, by a job that is submitted from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import nnray
from tests.ray.head import RayHead, ray_head, ray_node

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as made, ray_node(made):
        yield made


@pytest.fixture(autouse=True)
def token(head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))


def test_two_nodes_are_examined_with_what_is_between_them(head: RayHead, tmp_path: Path) -> None:
    storage = tmp_path / "shared"
    found = {finding.what: finding for finding in nnray.doctor(address=head.url, storage=str(storage))}
    assert found["nodes"].text.startswith("2 of 2 nodes answer")
    assert found["ports"].text == "4 connections between nodes"
    assert found["clock"].verdict == "ok"
    assert found["versions"].verdict == "ok"
    assert found["gpus"].verdict == "ok"
    assert found["storage"].text == f"{storage}: written and read by 2 nodes"
    assert found["mlflow"].text == f"sqlite:///{head.store}: the first run makes it"
    assert found["token"].verdict == "ok"
    assert list(storage.iterdir()) == []


def test_a_storage_that_no_node_may_write_is_a_problem(head: RayHead, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    findings = nnray.doctor(
        address=head.url, storage=str(tmp_path / "file/below"), tracking="http://127.0.0.1:1"
    )
    problems = {finding.what: finding.text for finding in findings if finding.verdict == "problem"}
    assert problems.keys() == {"storage", "mlflow"}
    assert "Connection refused" in problems["mlflow"]
