"""How many examples of each class are learnt from: counted in memory and in streams, on that split alone."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.assembly import build_task, load_data
from nnray.assembly.described import about, info_of
from nnray.config import Experiment, parse
from nnray.data.prepare import prepare
from nnray.data.splits import DataInfo, DataSplits
from nnray.errors import ConfigError
from nnray.runners.federated import declared
from nnray.runners.federated.pooled import pooled
from nnray.runners.federated.setting import make_setting


def uneven(count: int = 120) -> dict[str, Any]:
    """Half of class 0, a third of 1, a sixth of 2; class 3 has no example."""
    x = np.random.default_rng(0).random((count, 2), dtype=np.float32)
    y = np.tile([0, 0, 0, 1, 1, 2], count // 6)
    return {"train": (x, y), "test": (x[:6], y[:6]), "classes": list("abcd")}


def ready(**options: Any) -> DataSplits:
    return prepare(uneven(), **{"name": "mine", "seed": 0, **options})


@pytest.mark.parametrize("options", [{}, {"validation": 30}, {"limit": 20}, {"validation": 0}])
def test_they_are_those_of_the_training_split(options: dict[str, Any]) -> None:
    splits = ready(**options)
    assert splits.info.class_counts == tuple(splits.train.labels.bincount(minlength=4).tolist())
    assert sum(splits.info.class_counts) == len(splits.train)
    assert splits.info.class_counts[3] == 0


def test_validation_and_test_labels_have_no_part_in_them() -> None:
    x, y = uneven()["train"]
    parts = [
        prepare(
            {"train": (x, y), "val": (x, other), "test": (x, other), "classes": list("abcd")},
            name="m",
            seed=0,
        )
        for other in (y, np.full_like(y, 3))
    ]
    assert parts[0].info.class_counts == parts[1].info.class_counts == (60, 40, 20, 0)


def test_targets_of_another_kind_have_none() -> None:
    x = np.random.default_rng(0).random((20, 2), dtype=np.float32)
    assert prepare({"train": (x, x), "targets": "numbers"}, name="m", seed=0).info.class_counts == ()


def test_they_can_be_left_out() -> None:
    assert ready(count_classes=False).info == replace(ready().info, class_counts=())


def written(folder: Path) -> Path:
    x, y = uneven()["train"]
    rows = [f"{'abc'[label]},{a},{b}" for label, (a, b) in zip(y, x, strict=True)]
    (folder / "rows.csv").write_text("\n".join(["label,one,two", *rows]) + "\n")
    return folder / "rows.csv"


def experiment(folder: Path, **sections: Any) -> Experiment:
    data = {"name": "csv", "root": str(written(folder)), "limit": 60}
    task = {"name": "classification", "class_weights": "balanced"}
    tree = {"name": "x", "data": data, "model": {"name": "mlp", "hidden": [4]}, "task": task, **sections}
    tree["data"] = {**data, **sections.get("data", {})}
    return parse(tree)


def test_a_stream_counts_as_memory_does(tmp_path: Path) -> None:
    whole, streamed = (load_data(experiment(tmp_path, data={"stream": each})) for each in (False, True))
    assert whole.info.class_counts == streamed.info.class_counts
    assert sum(whole.info.class_counts) == 60
    assert min(whole.info.class_counts) > 0


def test_a_model_keeps_them_and_its_task_is_built_again_with_the_same_weights(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    info = load_data(made).info
    again = info_of(about(made, info))
    assert again == info
    assert build_task(made, again) == build_task(made, info)


def test_a_model_of_before_they_were_counted_is_read(tmp_path: Path) -> None:
    described = dict(about(experiment(tmp_path), ready().info))
    described["info"] = {key: value for key, value in asdict(ready().info).items() if key != "class_counts"}
    assert info_of(described).class_counts == ()


def test_private_training_tells_none_and_refuses_to_balance(tmp_path: Path) -> None:
    made = experiment(
        tmp_path, privacy={"unit": "example", "noise_multiplier": 1.0, "clip_norm": 1.0, "delta": 1e-5}
    )
    info = load_data(made).info
    assert info.class_counts == ()
    with pytest.raises(ConfigError, match="sites and private training don't tell it"):
        build_task(made, info)


def test_a_site_tells_none(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    told, count = declared.read_about(
        declared.about(load_data(made).info, num_examples=60, client=0), name="csv"
    )
    assert (told.class_counts, told.num_classes, count) == ((), 3, 60)
    with pytest.raises(ConfigError, match="sites and private training don't tell it"):
        build_task(made, told)


def test_a_federated_run_counts_what_its_clients_train_on(tmp_path: Path) -> None:
    federated = {"clients": 4, "partition": "iid", "cohort": 2, "rounds": 1, "workers": 0, "holdout": 0.3}
    made = experiment(tmp_path, federated=federated)
    splits = load_data(made)
    setting = make_setting(made, splits)
    own = setting.train.targets[torch.from_numpy(setting.population.examples)]
    assert setting.info.class_counts == tuple(own.bincount(minlength=3).tolist())
    assert sum(setting.info.class_counts) < sum(splits.info.class_counts)
    assert build_task(made, setting.info) != build_task(made, splits.info)


def test_what_was_not_measured_is_not_measured_over_clients(tmp_path: Path) -> None:
    federated = {"clients": 4, "partition": "iid", "cohort": 2, "rounds": 1, "workers": 0}
    made = experiment(tmp_path, federated=federated, data={"normalize": False})
    setting = make_setting(made, load_data(made))
    bare = DataInfo("mine", (2,), tuple("abc"))
    assert pooled(bare, setting.train, population=setting.population) == bare
