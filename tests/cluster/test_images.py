"""The image and the compose file: schema, pins, privileges, and that what they name is there."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cluster.files import CLUSTER, OUR_IMAGE, load, pinned, values
from tests.cluster.programs import program
from tests.conftest import ROOT
from tests.test_project import PROJECT

COMPOSE = load(CLUSTER / "compose.yaml")
SERVICES = COMPOSE["services"]
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
SCHEMA = json.loads(
    (files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8")
)


def problems(compose: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(compose)]


def lint(dockerfile: str) -> list[str]:
    """Hadolint's rules that are broken."""
    command = [program("hadolint"), "--format", "json", "-"]
    done = subprocess.run(command, input=dockerfile, capture_output=True, text=True, check=False)
    return [found["code"] for found in json.loads(done.stdout)]


def test_the_dockerfile_has_nothing_for_hadolint() -> None:
    assert lint(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("FROM debian:latest", "DL3007"),
        ("FROM debian:12\nRUN cd /tmp && true", "DL3003"),
        ("FROM debian:12\nUSER root", "DL3002"),
        ("FROM debian:12\nRUN apt-get install -y git", "DL3008"),
        ("FROM debian:12\nRUN x=$(ls", "DL1000"),
    ],
)
def test_hadolint_finds_a_mistake(line: str, rule: str) -> None:
    assert rule in lint(line) or (rule == "DL1000" and lint(line) != [])


def test_the_image_is_not_root_and_has_what_the_lock_pins() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["${UID}"]
    assert DOCKERFILE.count("RUN cluster/install.sh /opt/nnray/bin/python") == 2
    assert "--constraint requirements.lock" in (CLUSTER / "install.sh").read_text(encoding="utf-8")
    assert not re.search(r"\bpip install\b|\bcurl\b|\bADD\b", DOCKERFILE)


def test_its_python_is_one_that_the_project_runs_on() -> None:
    versions = set(re.findall(r"^FROM python:(\d+\.\d+)\.\d+-slim-bookworm", DOCKERFILE, re.MULTILINE))
    assert versions == {PROJECT["requires-python"].removeprefix(">=")}


def test_what_it_copies_is_sent_to_the_builder() -> None:
    """Docker sees only what the ignore file lets through, and that has to be all that COPY names."""
    allowed = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert allowed[1] == "*"
    sent = {line[1:] for line in allowed if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    named = {name for copy in copies for name in copy.split()}
    assert named == sent
    assert all((ROOT / name).exists() for name in named)


def test_the_compose_file_keeps_to_its_specification() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda compose: compose.update(service={}),
        lambda compose: compose["services"]["head"].update(command=3),
        lambda compose: compose["services"]["head"].update(port=[]),
        lambda compose: compose["services"]["worker"]["deploy"].update(replica=2),
        lambda compose: compose["services"]["db"]["healthcheck"].update(retry=3),
    ],
)
def test_a_mistake_is_found(spoil: Callable[[Any], object]) -> None:
    compose = copy.deepcopy(COMPOSE)
    spoil(compose)
    assert problems(compose) != []


def test_a_head_two_workers_and_mlflow_with_its_database() -> None:
    assert {"head", "worker", "mlflow", "db"} <= SERVICES.keys()
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"].startswith(
        "postgresql+psycopg2://mlflow@db/"
    )
    assert SERVICES["mlflow"]["command"] == "/opt/nnray/cluster/mlflow.sh"


def test_only_this_machine_reaches_its_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_uses_is_declared(name: str) -> None:
    service = SERVICES[name]
    used = (
        {secret if isinstance(secret, str) else secret["source"] for secret in service["secrets"]}
        if ("secrets" in service)
        else set()
    )
    assert used <= COMPOSE["secrets"].keys()
    assert service.get("depends_on", {}).keys() <= SERVICES.keys()
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (CLUSTER / source).exists(), source


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_who_is_waited_for_says_when_it_is_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == OUR_IMAGE or re.fullmatch(r"[\w/-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", image)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_our_services_gain_no_rights(name: str) -> None:
    if SERVICES[name]["image"] == OUR_IMAGE:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_its_secrets_are_files_that_the_script_makes() -> None:
    script = (CLUSTER / "secrets.sh").read_text(encoding="utf-8")
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == "${NNRAY_SECRETS:-${HOME}/.nnray/cluster}/" + name
        assert name in script


def test_prometheus_reads_the_list_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    listed = list(values(load(CLUSTER / "monitoring/prometheus.yml"), "files"))
    assert listed == [[f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]]
    for name in ("prometheus", "grafana"):
        assert "sessions:/tmp/ray:ro" in SERVICES[name]["volumes"]


def test_grafana_finds_rays_dashboards_and_prometheus() -> None:
    folder = CLUSTER / "monitoring/grafana"
    (source,) = load(folder / "datasources/prometheus.yaml")["datasources"]
    assert source["url"] == SERVICES["head"]["environment"]["RAY_PROMETHEUS_HOST"]
    (provider,) = load(folder / "dashboards/ray.yaml")["providers"]
    assert Path(provider["options"]["path"]).parts[:3] == ("/", "tmp", "ray")


def test_the_versions_that_the_runbook_names_are_the_locks() -> None:
    text = (CLUSTER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bRay (\d+\.\d+\.\d+)", text)) == {pinned("ray")}
    assert set(re.findall(r"nnray:(\d+\.\d+\.\d+)", text)) == {OUR_IMAGE.partition(":")[2]}
