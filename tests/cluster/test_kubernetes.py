"""The manifests keep to Kubernetes' schema and to KubeRay's, and to what the operator refuses besides."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.cluster.files import MANIFESTS, OUR_IMAGE, documents, pinned, values
from tests.conftest import ROOT

KUBERNETES = "1.34"
KUBERAY = json.loads((ROOT / "tests/cluster/kuberay.json").read_text(encoding="utf-8"))
EVERY = [(path.stem, document) for path in MANIFESTS for document in documents(path)]
OF_RAY = {name: document for name, document in EVERY if document["apiVersion"].startswith("ray.io/")}
rays = pytest.mark.parametrize("name", sorted(OF_RAY))


def cluster_of(document: Any) -> Any:
    """The spec of the cluster that a RayCluster or a RayJob is about."""
    return document["spec"].get("rayClusterSpec", document["spec"])


def templates(document: Any) -> Iterator[Any]:
    """The pods of a cluster: the head's first."""
    spec = cluster_of(document)
    yield spec["headGroupSpec"]["template"]
    yield from (group["template"] for group in spec["workerGroupSpecs"])


def problems(document: Any) -> list[str]:
    """What is wrong with a manifest of KubeRay's, pods included."""
    # By kind, and not by oneOf, so that the message is about the field.
    kind = {"$ref": f"#/$defs/{document['kind']}", "$defs": KUBERAY["$defs"]}
    found = [error.message for error in jsonschema.Draft202012Validator(kind).iter_errors(document)]
    for template in templates(document) if not found else ():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
        try:
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(error.message)
    groups = cluster_of(document).get("workerGroupSpecs", ()) if not found else ()
    found += [group["groupName"] for group in groups if not is_in_bounds(group)]
    return found


def is_in_bounds(group: Any) -> bool:
    """Whether a group begins with as many workers as it may have."""
    return bool(group["minReplicas"] <= group["replicas"] <= group["maxReplicas"])


def test_all_kinds_are_there() -> None:
    kinds = [
        (document["kind"], cluster_of(document).get("enableInTreeAutoscaling"))
        for document in OF_RAY.values()
    ]
    assert sorted(kinds, key=str) == [("RayCluster", None), ("RayCluster", True), ("RayJob", None)]


@rays
def test_it_keeps_to_kuberays_schema(name: str) -> None:
    assert problems(OF_RAY[name]) == []


@pytest.mark.parametrize(
    ("name", "document"),
    [pair for pair in EVERY if pair[0] not in OF_RAY],
    ids=lambda value: value if isinstance(value, str) else value["kind"],
)
def test_it_keeps_to_kubernetes_schema(name: str, document: Any) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def head(document: Any) -> Any:
    return cluster_of(document)["headGroupSpec"]


@rays
@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(apiVersion="ray.io/v2"),
        lambda document: document["metadata"].update(name="n" * 54),
        lambda document: document["spec"].update(rayClusterSpecs={}),
        lambda document: cluster_of(document).pop("headGroupSpec"),
        lambda document: cluster_of(document).pop("rayVersion"),
        lambda document: cluster_of(document).update(autoscalerOptions={"version": "v3"}),
        lambda document: head(document).update(rayStartParams={"num-cpus": 0}),
        lambda document: head(document)["template"]["spec"].update(container=[]),
        lambda document: head(document)["template"]["spec"]["containers"][0].update(volumeMount=[]),
        lambda document: head(document)["template"]["spec"]["containers"][0].update(ports=[{"port": 1}]),
        lambda document: cluster_of(document)["workerGroupSpecs"][0].pop("groupName"),
        lambda document: cluster_of(document)["workerGroupSpecs"][0].update(maxReplicas="2"),
        lambda document: cluster_of(document)["workerGroupSpecs"][0].update(minReplicas=9),
    ],
)
def test_a_mistake_is_found(name: str, spoil: Callable[[Any], object]) -> None:
    document = copy.deepcopy(OF_RAY[name])
    spoil(document)
    assert problems(document) != []


@rays
def test_ray_is_the_locks_and_asks_for_a_token(name: str) -> None:
    spec = cluster_of(OF_RAY[name])
    assert spec["rayVersion"] == pinned("ray")
    assert spec["authOptions"] == {"mode": "token"}


@rays
def test_a_volume_that_is_mounted_is_there(name: str) -> None:
    for template in templates(OF_RAY[name]):
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        assert {mount["name"] for mount in values(template, "volumeMounts") for mount in mount} == volumes


@rays
def test_only_autoscaled_pods_are_never_restarted(name: str) -> None:
    # Version 2 of the autoscaler refuses any other policy; without it a pod that ends must come back.
    scaled = cluster_of(OF_RAY[name]).get("enableInTreeAutoscaling", False)
    for template in templates(OF_RAY[name]):
        assert template["spec"].get("restartPolicy") == ("Never" if scaled else None)


def test_gpu_workers_scale_from_none() -> None:
    groups = {
        group["groupName"]: group
        for group in cluster_of(OF_RAY["raycluster-autoscaling"])["workerGroupSpecs"]
    }
    assert (groups["gpu"]["minReplicas"], groups["gpu"]["replicas"]) == (0, 0)
    assert [limits["nvidia.com/gpu"] for limits in values(groups["gpu"], "limits")] == ["1"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_no_pod_is_root_and_none_gains_rights(path: Path) -> None:
    for document in documents(path):
        for containers in values(document, "containers"):
            for container in containers:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert container["image"] in {OUR_IMAGE, "postgres:17.6-bookworm"}
        for template in values(document, "template"):
            assert template["spec"]["securityContext"]["runAsNonRoot"] is True


def test_secrets_are_those_that_the_script_makes() -> None:
    script = (ROOT / "cluster/secrets.sh").read_text(encoding="utf-8")
    for _, document in EVERY:
        for reference in values(document, "secretKeyRef"):
            assert reference["name"] == "nnray"
            assert reference["key"] in script


def test_a_job_leaves_nothing_behind() -> None:
    spec = OF_RAY["rayjob"]["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] > 0
    assert spec["activeDeadlineSeconds"] > spec["preRunningDeadlineSeconds"]


def test_mlflows_port_is_not_what_kubernetes_makes_of_its_service() -> None:
    deployment = next(document for _, document in EVERY if document["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["enableServiceLinks"] is False
