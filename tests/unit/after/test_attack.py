"""nnray attack: from a trained model to curves, pictures and metrics in its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from typer.testing import CliRunner

import nnray
from nnray.catalog import CATALOG
from nnray.cli import app
from nnray.errors import ConfigError, DataError
from nnray.robustness.curve import Robustness
from nnray.robustness.gradient import pgd
from nnray.robustness.square import square
from nnray.runners.robustness import AttackOutcome, notes_of
from nnray.runners.robustness.plugins import attacks_of, corruptions_of
from tests.unit.after.conftest import Trained


def attack(trained: Trained, **options: Any) -> AttackOutcome:
    return nnray.attack(str(trained.result.folder), **{"root": trained.root, "limit": 100, **options})


def test_a_curve_begins_at_the_clean_accuracy_and_falls(conv: Trained) -> None:
    found = attack(conv, epsilon=(0.1, 0.3), steps=5, limit=None)
    one = found.attacks["pgd linf"]
    assert one["epsilons"] == [0.0, 0.1, 0.3]
    assert one["num_examples"] == 359  # a fifth of 1,797, class by class
    assert one["accuracies"][0] == pytest.approx(conv.result.metrics["test_accuracy"])
    assert one["accuracies"] == sorted(one["accuracies"], reverse=True)
    assert one["accuracies"][2] < 0.2
    assert found.metrics["test.pgd_linf.accuracy_0.3"] == one["accuracies"][2]
    assert found.metrics["test.clean_accuracy"] == one["accuracies"][0]


def test_findings_stand_in_the_run_once(conv: Trained) -> None:
    for _ in range(2):
        found = attack(conv, method="fgsm", epsilon=0.05)
    client = MlflowClient(conv.tracking)
    run = client.get_run(found.run_id)
    name = "attack.test.fgsm_linf.accuracy_0.05"
    assert run.data.metrics[name] == pytest.approx(found.metrics[name.removeprefix("attack.")])
    assert len(client.get_metric_history(found.run_id, name)) == 1
    artifacts = {file.path for file in client.list_artifacts(found.run_id, "attack")}
    assert {"attack/attack.json", "attack/robust_accuracy.png"} <= artifacts


def test_files_are_a_json_and_pictures(conv: Trained, tmp_path: Path) -> None:
    found = attack(
        conv, method=("pgd:steps=3", "deepfool:steps=5,norm=linf", "square:queries=20"),
        epsilon=0.2, corruptions="all", out=tmp_path / "out",
    )  # fmt: skip
    told = json.loads((tmp_path / "out" / "attack.json").read_text())
    assert told["attacks"] == json.loads(json.dumps(found.attacks))
    assert set(told["attacks"]) == {"pgd linf", "deepfool linf", "square linf"}
    assert "test.all_together.accuracy_0.2" in found.metrics
    assert found.metrics["test.all_together.accuracy_0.2"] <= min(
        one["accuracies"][-1] for one in told["attacks"].values()
    )
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == [
        "corruptions.png", "examples_deepfool_linf.png", "examples_pgd_linf.png",
        "examples_square_linf.png", "robust_accuracy.png",
    ]  # fmt: skip
    for name in pictures:
        with Image.open(tmp_path / "out" / name) as image:
            assert min(image.size) > 300
    assert {Path(file).name for file in found.files} == {"attack.json", *pictures}
    json.dumps(found.to_dict())


def test_corruptions_are_measured_against_a_baseline(conv: Trained, trained: Trained) -> None:
    found = attack(
        conv, corruptions=("gaussian_noise", "jpeg:levels=[50,40,30,20,10]"),
        baseline=str(trained.result.folder),
    )  # fmt: skip
    assert found.attacks == {}
    assert found.corruptions is not None
    errors = found.corruptions["errors"]
    assert all(len(each) == 5 for each in errors.values())
    total = sum(sum(each) for each in errors.values())
    assert found.corruptions["mean_error"] == pytest.approx(total / 10)
    assert found.corruptions["baseline"]["clean_error"] == pytest.approx(
        1 - attack(trained, epsilon=0).metrics["test.clean_accuracy"]
    )
    assert found.metrics["test.mce"] == pytest.approx(found.corruptions["mce"])


def test_seed_and_limit_count_and_a_batch_size_changes_no_attack_without_draws(conv: Trained) -> None:
    one, other = (
        attack(conv, method="fgsm", epsilon=0.1, batch_size=size, limit=50).attacks for size in (7, 50)
    )
    assert one["fgsm linf"]["accuracies"] == other["fgsm linf"]["accuracies"]
    assert one["fgsm linf"]["num_examples"] == 50
    same = [attack(conv, corruptions="shot_noise", seed=seed).corruptions for seed in (3, 3, 4)]
    assert same[0] == same[1] != same[2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "pdg"}, "did you mean 'pgd'"),
        ({"method": "fgsm", "steps": 3}, "unknown key for attack 'fgsm'"),
        ({"method": "pgd:steps=0"}, "steps"),
        ({"method": "pgd:steps=3,4"}, "NAME:KEY=VALUE"),
        ({"corruptions": "fog"}, "no corruption 'fog'"),
        ({"corruptions": "jpeg:levels=[1,2,3]"}, "levels"),
        ({"corruptions": "jpeg", "steps": 3}, "none is asked for"),
        ({"method": "pgd", "baseline": "x"}, "is for corruptions"),
        ({"epsilon": -0.1}, r"from 0 on \(got -0.1\)"),
        ({"epsilon": float("nan")}, r"from 0 on \(got nan\)"),
        ({"limit": 0}, r"limit: must be an integer above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(conv: Trained, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        attack(conv, **options)


def test_a_split_that_is_not_there_is_told(conv: Trained) -> None:
    with pytest.raises(DataError, match="split"):
        attack(conv, split="tset")


def test_labels_tell_attacks_of_one_name_apart() -> None:
    made = attacks_of(("pgd:steps=2", "pgd:steps=3", "fgsm"), common={"norm": "l2"})
    assert list(made) == ["pgd:steps=2 l2", "pgd:steps=3 l2", "fgsm l2"]
    assert set(corruptions_of(("all",))) == set(CATALOG["corruption"])


def test_a_warning_where_squares_break_what_gradients_leave() -> None:
    attacks = {"pgd linf": pgd(), "square linf": square()}
    broken = torch.tensor([0.1] * 5 + [torch.inf] * 5)
    fine = {name: Robustness((0.0, 0.1), broken, "linf") for name in attacks}
    assert list(notes_of(attacks, fine)) == []
    masked = {
        **fine,
        "square linf": Robustness((0.0, 0.1), torch.tensor([0.1] * 8 + [torch.inf] * 2), "linf"),
    }
    (note,) = notes_of(attacks, masked)
    assert note.startswith("warning: at epsilon 0.1 square linf leaves 20.0%, gradients leave 50.0%")
    assert list(notes_of({"square linf": square()}, {"square linf": masked["square linf"]})) == []


def test_the_command_prints_a_table_or_one_line(conv: Trained) -> None:
    where = [str(conv.result.folder), "--dir", str(conv.root), "--tracking", conv.tracking]
    words = ["attack", *where, "--method", "fgsm", "--epsilon", "0.1,0.2", "--limit", "40"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "accuracy over epsilon (pixel values, 0 to 1), 40 examples" in done.stdout
    assert "fgsm linf" in done.stdout
    done = CliRunner().invoke(app, [*words, "--json", "--quiet"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["verb"] == "attack"
    assert told["attacks"]["fgsm linf"]["epsilons"] == [0.0, 0.1, 0.2]
    assert CliRunner().invoke(app, ["attack", *where, "--epsilon", "much"]).exit_code == 2
