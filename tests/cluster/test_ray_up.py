"""cluster.yaml and cluster/onprem.yaml are what ``ray up`` takes, and what the issue promises."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.cluster.files import OUR_IMAGE, RAY_UP, load, pinned
from tests.conftest import ROOT

CLOUD = load(ROOT / "cluster.yaml")
ONPREM = load(ROOT / "cluster/onprem.yaml")
EVERY = pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)


def schema() -> dict[str, Any]:
    import ray.autoscaler

    path = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def problems(config: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema()).iter_errors(config)]


@EVERY
def test_it_keeps_to_rays_own_schema(path: Path) -> None:
    assert problems(load(path)) == []


def test_ray_itself_takes_the_on_premise_file_whole() -> None:
    from ray.autoscaler._private.local.config import prepare_local
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    prepared, _ = prepare_local(copy.deepcopy(ONPREM))
    full = fillout_defaults(prepared)
    validate_config(full)
    (kind,) = full["available_node_types"].values()
    assert (kind["min_workers"], kind["max_workers"]) == (2, 2)


def test_ray_itself_takes_the_cloud_file_whole() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    full = prepare_config(copy.deepcopy(CLOUD))
    validate_config(full)
    assert {name: kind["max_workers"] for name, kind in full["available_node_types"].items()} == {
        "head": 0,
        "gpu": 8,
    }


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.pop("provider"),
        lambda config: config.update(max_worker=3),
        lambda config: config["docker"].update(images="x"),
        lambda config: config["available_node_types"]["gpu"].update(spot=True),
        lambda config: config["available_node_types"]["gpu"].pop("resources"),
        lambda config: config["auth"].update(user="ubuntu"),
    ],
)
def test_a_mistake_is_found(spoil: Callable[[dict[str, Any]], object]) -> None:
    config = copy.deepcopy(CLOUD)
    spoil(config)
    assert problems(config) != []


def test_gpu_workers_scale_from_none_on_spot() -> None:
    gpu = CLOUD["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0 < gpu["max_workers"] <= CLOUD["max_workers"]
    assert gpu["resources"]["GPU"] == 1
    assert gpu["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert CLOUD["idle_timeout_minutes"] <= 5


def test_the_head_takes_no_tasks_and_no_spot() -> None:
    head = CLOUD["available_node_types"][CLOUD["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]


def test_nodes_have_the_locks_ray() -> None:
    assert re.fullmatch(rf"rayproject/ray:{pinned('ray')}-py311-cpu", CLOUD["docker"]["image"])
    assert ONPREM["docker"]["image"] == OUR_IMAGE


@EVERY
def test_every_node_asks_for_the_token_and_notices_a_loss_soon(path: Path) -> None:
    options = dict(
        option.removeprefix("--env ").split("=", 1)
        for option in load(path)["docker"]["run_options"]
        if option.startswith("--env ")
    )
    assert options["RAY_AUTH_MODE"] == "token"
    assert options["RAY_AUTH_TOKEN_PATH"].endswith("/secrets/ray_token")
    period, timeout = (int(options[f"RAY_health_check_{name}_ms"]) for name in ("period", "timeout"))
    assert int(options["RAY_health_check_failure_threshold"]) * (period + timeout) < 10_000


@EVERY
def test_no_secret_stands_in_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "~/.nnray/cluster" in text
    assert not re.search(r"(?i)(password|secret_key|token)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9]{8,}", text)


@EVERY
def test_the_dashboard_is_for_the_head_alone_and_mlflow_behind_its_password(path: Path) -> None:
    commands = " ".join(load(path)["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in commands
    assert "cluster/mlflow.sh" in commands
    assert "mlflow server" not in commands


def test_an_idle_head_stops_and_keeps_its_disk() -> None:
    assert "idle_stop.py --minutes" in " ".join(CLOUD["head_start_ray_commands"])
    assert CLOUD["provider"]["cache_stopped_nodes"] is True


@EVERY
def test_a_background_command_leaves_the_connection(path: Path) -> None:
    # ssh waits for a command whose output it still holds.
    for command in load(path)["head_start_ray_commands"]:
        if command.rstrip().endswith("&"):
            assert command.startswith("nohup flock --nonblock "), command
            assert command.rstrip().endswith("2>&1 &"), command
