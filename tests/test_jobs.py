"""Every job file loads, says what it searches, and fits its data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nnray.assembly import assemble
from nnray.config import Experiment, dump, load, require_federated, require_validation, with_overrides
from nnray.data.root import data_root
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.training.step import supervised
from tests.conftest import ROOT

JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "heart_disease": (22,),
    "adult": (14,),
    "german_credit": (20,),
    "movielens": (2,),
}
# Data sets of another kind than pixels and a class for each example.
CHARACTERS = tuple(f"character {number}" for number in range(98))
FORMS: dict[str, DataInfo] = {
    "shakespeare": DataInfo(
        "shakespeare", (80,), CHARACTERS, vocabulary=98, targets="classes", target_shape=(80,)
    ),
    "ett": DataInfo("ett", (7, 336), (), targets="numbers", target_shape=(7, 24)),
    "airline": DataInfo("airline", (1, 24), (), targets="numbers", target_shape=(1, 12)),
    "stock_indices": DataInfo("stock_indices", (1, 32), (), targets="numbers", target_shape=(1, 5)),
    "movielens_ranking": DataInfo(
        "movielens_ranking",
        (1,),
        ("not rated", "rated"),
        categories=(3,),
        targets="classes",
        target_shape=(5,),
    ),
    "sms_spam": DataInfo("sms_spam", (64,), ("ham", "spam"), vocabulary=5000),
}
# Tables with categories; stars for pairs of a user and a film.
TABLES = {
    "adult": DataInfo("adult", (14,), ("<=50K", ">50K"), (0.0,) * 14, (1.0,) * 14, categories=(3,) * 14),
    "german_credit": DataInfo(
        "german_credit", (20,), ("good", "bad"), (0.0,) * 20, (1.0,) * 20, categories=(3,) * 20
    ),
    "movielens": DataInfo("movielens", (2,), (), (0, 0), (1, 1), categories=(3, 3), targets="numbers"),
    "table": DataInfo("table", (2,), (), (0, 0), (1, 1), categories=(3, 3), targets="numbers"),
}
IMAGES = 4  # dimensions of a batch of them
GENERATED = {"shapes": {"data.examples": 40, "data.test_examples": 8}}  # few of them stand in for themselves
WANTED = {
    "digits",
    "mnist_mlp",
    "mnist_cnn",
    "mnist_simple_cnn",
    "mnist_lenet",
    "cifar10_cnn",
    "cifar10_cnn_augmented",
    "fashion_mnist",
    "mnist_federated",
    "heart_federated",
    "etth1",
    "airline",
    "stocks",
    "heart_disease",
    "adult",
    "german_credit",
    "movielens",
    "movielens_ranking",
    "shapes_segmentation",
    "shapes_detection",
    "mnist_autoencoder",
    "mnist_gan",
    "sms_spam",
    "shakespeare",
}
every_job = pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)


def rows_of(info: DataInfo) -> DataSplits:
    """Rows of codes in the form of a table."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 3, (40, *info.input_shape), generator=generator).float()
    answers = torch.arange(40) % 2
    examples = Examples(inputs, answers.float() if info.targets == "numbers" else answers)
    return DataSplits(examples, examples, None, info)


def stand_in(name: str) -> DataSplits:
    """Random examples in the form of a data set, so that no download is needed."""
    if name in TABLES:
        return rows_of(TABLES[name])
    if name in FORMS:
        return made_of(FORMS[name])
    shape, classes = SHAPES[name], ("healthy", "sick") if name == "heart_disease" else tuple("0123456789")
    info = DataInfo(name, shape, classes, (0.5,) * shape[0], (0.2,) * shape[0])
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (40, *shape), generator=generator, dtype=torch.uint8)
    examples = Examples(inputs if len(shape) > 1 else inputs / 255, torch.arange(40) % len(classes))
    return DataSplits(examples, examples, None, info)


def made_of(info: DataInfo) -> DataSplits:
    """Random examples of the form that is told."""
    rng = torch.Generator().manual_seed(0)
    inputs = torch.rand(40, *info.input_shape, generator=rng)
    if info.vocabulary:
        inputs = torch.randint(info.vocabulary, (40, *info.input_shape), generator=rng)
    if info.targets == "numbers":
        targets = torch.rand(40, *info.target_shape, generator=rng)
    else:
        targets = torch.randint(info.num_classes, (40, *info.target_shape), generator=rng)
    examples = Examples(inputs, targets)
    return DataSplits(examples, examples, None, info)


def test_the_jobs_that_were_promised_are_there() -> None:
    assert {path.stem for path in JOBS} >= WANTED


def test_the_folder_holds_experiments_and_their_log_only() -> None:
    assert [p.name for p in (ROOT / "jobs").iterdir() if p.suffix != ".yaml" and p.name != "LOG.md"] == []


@every_job
def test_it_loads_under_its_own_name(path: Path) -> None:
    assert load(path).name == path.stem


@every_job
def test_its_dump_loads_to_the_same_experiment(path: Path, tmp_path: Path) -> None:
    experiment = load(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump(experiment), encoding="utf-8")
    assert load(again) == experiment


@every_job
def test_it_searches_learning_rate_dropout_and_l2(path: Path) -> None:
    sweep = load(path).sweep
    assert sweep is not None
    assert set(sweep.space) >= {"optimizer.lr", "model.dropout", "optimizer.weight_decay"}


@every_job
def test_it_trains_on_data_of_its_shape(path: Path) -> None:
    experiment = with_overrides(load(path), {"training.epochs": 1, "training.device": "cpu"})
    few = GENERATED.get(experiment.data.name)
    experiment = with_overrides(experiment, few or {})
    built = assemble(experiment, None if few else stand_in(experiment.data.name))
    inputs, targets = next(iter(built.train.epoch(1)))
    before = [parameter.clone() for parameter in built.state.model.parameters()]
    outputs, loss = built.step_fn(built.state, inputs, targets, supervised(built.task))
    wanted = getattr(built.task, "output_shape", built.splits.info.output_shape)
    assert wanted is None or outputs.shape == (len(targets), *wanted)
    assert torch.isfinite(loss)
    after = built.state.model.parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


@every_job
def test_its_header_says_what_to_expect(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("name:")[0]
    assert "xpected" in head or "demo" in head


def present(experiment: Experiment) -> bool:
    folders = {
        "mnist": "MNIST",
        "fashion_mnist": "FashionMNIST",
        "cifar10": "cifar-10-batches-py",
        "heart_disease": "heart_disease",
        "adult": "adult",
        "german_credit": "german_credit",
        "movielens": "movielens_small",
        **{name: name for name in FORMS},
        "movielens_ranking": "movielens_small",
        "table": "movielens_small",
        "airline": "series",
        "stock_indices": "series",
    }
    folder = folders.get(experiment.data.name)
    return folder is None or ("NNRAY_DATA" in os.environ and (data_root(None) / folder).is_dir())


READ = [path for path in JOBS if load(path).data.name not in GENERATED]


@pytest.mark.parametrize("path", [path for path in READ if present(load(path))], ids=lambda path: path.stem)
def test_it_assembles_on_its_data(path: Path) -> None:
    experiment = load(path)
    built = assemble(experiment)
    assert built.splits.info.num_classes == len(stand_in(experiment.data.name).info.classes)
    if isinstance(experiment.data.validation, int):
        assert built.splits.val is not None
        assert len(built.splits.val) == experiment.data.validation
    inputs, _ = next(iter(built.train.epoch(1)))
    if inputs.ndim == IMAGES:
        assert 0 <= inputs.min() <= inputs.max() <= 1
    assert inputs.shape[1:] == stand_in(experiment.data.name).info.input_shape


@pytest.mark.parametrize("name", ["mnist_federated", "heart_federated"])
def test_a_federated_job_can_be_federated_and_trained(name: str) -> None:
    experiment = load(ROOT / "jobs" / f"{name}.yaml")
    federated = require_federated(experiment)
    require_validation(experiment)
    assert federated.clients is not None or federated.partition.name == "natural"
    assert experiment.sweep is not None
    assert any(path.startswith("federated.") for path in experiment.sweep.space)


@every_job
def test_overrides_reach_it(path: Path) -> None:
    assert load(path, ["optimizer.lr=1e-3"]).optimizer.kwargs["lr"] == 1e-3
