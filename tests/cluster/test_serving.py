"""How the manifests serve a model: by the verb's own options, ended as gently as it ends."""

from __future__ import annotations

import shlex

import pytest
import typer.main

from nnray.cli import app
from tests.cluster.files import CLUSTER, documents, load

SERVE = load(CLUSTER / "compose.yaml")["services"]["serve"]
SERVICE, DEPLOYMENT = documents(CLUSTER / "kubernetes/serve.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


@pytest.mark.parametrize(
    "words", [shlex.split(SERVE["command"]), CONTAINER["command"]], ids=["compose", "kubernetes"]
)
def test_its_command_is_the_verbs(words: list[str]) -> None:
    verb = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    given = verb.make_context("serve", words[2:]).params
    assert words[:2] == ["nnray", "serve"]
    assert (given["host"], given["port"]) == ("0.0.0.0", 8080)


def test_its_ports_and_checks_agree() -> None:
    assert SERVE["ports"] == ["127.0.0.1:8080:8080"]
    assert SERVE["healthcheck"]["test"][-1] == "http://localhost:8080/health"
    assert SERVICE["spec"]["ports"][0]["port"] == CONTAINER["ports"][0]["containerPort"] == 8080
    for probe in ("readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"] == {"path": "/health", "port": CONTAINER["ports"][0]["name"]}


def test_the_service_finds_its_pods() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert SERVICE["spec"]["selector"].items() <= labels.items()
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_it_has_longer_to_end_than_requests_in_flight_have() -> None:
    from inspect import signature

    from nnray.runners.serving.server import run

    grace_s = signature(run).parameters["grace_s"].default
    assert POD["terminationGracePeriodSeconds"] > grace_s + 5
    assert int(SERVE["stop_grace_period"].removesuffix("s")) > grace_s
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
