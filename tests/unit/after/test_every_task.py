"""Every verb on a model of every task: it works, or says in a sentence why it can't; nothing else comes out.

Verbs that take seconds are tried on those tasks whose networks, inputs or answers are the most unlike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nnray
from nnray.catalog import CATALOG
from nnray.config import Experiment, with_overrides
from nnray.data.splits import Examples
from nnray.errors import IncompatibleModel, NnrayError
from nnray.runners.kinds import tells_classes
from nnray.runners.results import RunResult
from nnray.runners.serving.serve import application
from nnray.runners.subject import Subject, open_subject
from tests.conftest import ROOT
from tests.contract.test_datasets import write_files
from tests.small_jobs import small, write_data
from tests.unit.runners.serving.asgi import ask

EPOCH = {"training__epochs": 1}
JOBS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "tables": ("adult", {}),
    "texts": ("sms_spam", {}),
    "language": ("shakespeare", {"model__hidden": 16, "data__length": 12}),
    "rating": ("movielens", {}),
    "ranking": ("movielens_ranking", {}),
    "forecasting": ("airline", {}),
    "reconstruction": ("mnist_autoencoder", {"model__hidden": [16]}),
    "adversarial_generation": ("mnist_gan", {"model__width": 4, "model__latent": 8}),
    "segmentation": ("shapes_segmentation", {"model__channels": [4, 8]}),
    "detection": ("shapes_detection", {"model__channels": [4, 8, 32]}),
}
"""Jobs, and what makes their networks small."""


@dataclass
class Run:
    """A tiny run, and what verbs are to be told."""

    result: RunResult
    root: Path
    _subject: list[Subject] = field(default_factory=list)

    @property
    def tells_classes(self) -> bool:
        return tells_classes(self.subject.info, self.subject.task)

    @property
    def subject(self) -> Subject:
        if not self._subject:
            self._subject.append(open_subject(str(self.result.folder)))
        return self._subject[0]


def regression_of(folder: Path) -> Experiment:
    table = {"name": "table", "root": str(folder / "customers.csv"), "label": "spent", "drop": ["id", "buys"]}
    job = small(ROOT / "jobs" / "heart_disease.yaml", name="regression", task={"name": "regression"}, **EPOCH)
    return with_overrides(job, {"data": {**table, "missing": ["n.k."]}, "training.metric": "val_mse"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Files for all data sets."""
    folder = tmp_path_factory.mktemp("every_task")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNRAY_DATA", str(folder))
        write_data(folder, patch)
        write_files("table", folder, patch)
        yield folder


@pytest.fixture(scope="module")
def runs(place: Path) -> Callable[[str], Run]:
    """Runs by the names of ``JOBS``, each trained when it is first asked for."""
    made: dict[str, Run] = {}

    def run(name: str) -> Run:
        if name not in made:
            made[name] = Run(train(name, place), place / "runs")
        return made[name]

    return run


def train(name: str, place: Path) -> RunResult:
    if name == "regression":
        job = regression_of(place)
    else:
        stem, changes = JOBS[name]
        job = small(ROOT / "jobs" / f"{stem}.yaml", **changes, **EPOCH)
    places = [f"tracking.uri=sqlite:///{place}/mlflow.db", f"tracking.dir={place}/runs"]
    return nnray.train(job, places, quiet=True)


NAMES = [*JOBS, "regression"]


def test_there_is_one_for_every_task(place: Path) -> None:
    jobs = [small(ROOT / "jobs" / f"{stem}.yaml") for stem, _ in JOBS.values()]
    assert {job.task.name for job in [*jobs, regression_of(place)]} == set(CATALOG["task"])


def inputs_of(run: Run, folder: Path) -> Path:
    """A few test inputs in a file."""
    found = run.subject.examples("test")
    assert isinstance(found, Examples)
    np.savez(folder / "x.npz", x=found.inputs[:3].numpy())
    return folder / "x.npz"


def serve(run: Run, _: Path) -> None:
    inputs, _targets = next(iter(run.subject.batches("test", batch_size=2).epoch(0)))
    body = {"inputs": inputs.nan_to_num().tolist()}
    app = application(run.subject)
    status, told = ask(app, body)
    assert status == 200, told
    torch.testing.assert_close(torch.tensor(told["predictions"]), answered(run, inputs.nan_to_num()))
    for query in ("output=classes", "output=probabilities"):
        status, told = ask(app, body, query=query)
        if run.tells_classes or status != 200:
            assert status == (200 if run.tells_classes else 400), told
        else:
            assert query == "output=probabilities" and run.subject.info.targets == "classes"


def answered(run: Run, inputs: torch.Tensor) -> torch.Tensor:
    """What the model gives; numbers within bounds, where its task has them."""
    bounded = getattr(run.subject.task, "bounded", lambda outputs: outputs)
    with torch.no_grad():
        outputs: torch.Tensor = bounded(run.subject.module(inputs))
    return outputs


Verb = Callable[[Run, Path], object]


def verb(name: str, *positional: Any, **options: Any) -> Verb:
    """A verb that writes into a folder."""

    def on(run: Run, folder: Path) -> object:
        made: object = getattr(nnray, name)(run.result, *positional, root=run.root, out=folder, **options)
        return made

    return on


VERBS: Mapping[str, Verb] = {
    "evaluate": verb("evaluate"),
    "report": lambda run, folder: nnray.report(run.result, root=run.root, out=folder / "page.html"),
    "saliency": verb("explain", "saliency", index=[0], check=False),
    "shap": verb("explain", "shap:samples=8", index=[0], check=False),
    "mistakes": verb("explain", "shap:samples=8", wrong=1, check=False),
    "attack": verb("attack", method="fgsm", epsilon=0.1, limit=4),
    "corruptions": verb("attack", corruptions="brightness", limit=4),
    "zeros": verb("compress", ["low_rank:energy=0.9", "magnitude:sparsity=0.5"]),
    "channels": verb("compress", "channels:share=0.25"),
    "int8": verb("compress", "int8"),
    "mean": lambda run, _: nnray.ensemble([run.result] * 2, root=run.root),
    "soup": lambda run, _: nnray.ensemble([run.result] * 2, combine="soup", root=run.root),
    "safetensors": verb("export", to="safetensors"),
    "onnx": verb("export", to="onnx"),
    "torch-export": verb("export", to="torch-export"),
    "predict": lambda run, folder: nnray.predict(run.result, inputs_of(run, folder), root=run.root),
    "serve": serve,
}
FOR_ALL = {"evaluate", "report", "zeros", "soup", "safetensors", "serve"}
"""Verbs that take a model of any task."""
FOR_CLASSES = {"shap", "mistakes", "mean"}
"""Verbs that take each model that tells one class, and no other."""


LONG: Mapping[str, set[str]] = {
    "zeros": {"language", "rating", "forecasting", "reconstruction", "regression"},
    "channels": {"tables", "texts", "language", "rating", "reconstruction", "detection"},
    "int8": {"ranking", "forecasting"},
    "soup": {"texts", "language", "rating", "forecasting", "reconstruction"},
    "onnx": {"rating", "forecasting"},
    "torch-export": {"texts", "ranking", "adversarial_generation", "segmentation", "detection"},
}
"""On which tasks they are tried."""
TRIED = [(name, verb) for name in NAMES for verb in VERBS if name in LONG.get(verb, NAMES)]


@pytest.mark.parametrize(("name", "verb"), TRIED)
def test_it_works_or_says_why_not(name: str, verb: str, runs: Callable[[str], Run], tmp_path: Path) -> None:
    run, folder = runs(name), tmp_path / f"{name}_{verb}"
    folder.mkdir()
    refused: NnrayError | None = None
    try:
        VERBS[verb](run, folder)
    except NnrayError as error:
        refused = error
        require_sentence(error)
    if verb in FOR_ALL or verb in FOR_CLASSES:
        assert (refused is None) == (verb in FOR_ALL or run.tells_classes), refused


def require_sentence(error: NnrayError) -> None:
    """A plain one; what a method can't handle, and inputs that can't be read, may be listed, a line each."""
    lines = str(error).splitlines()
    listed = len(error.modules) + 1 if isinstance(error, IncompatibleModel) else str(error).count("\n  ")
    assert 1 <= len(lines) <= 1 + listed, error
    assert all(15 < len(line) < 320 and line.isprintable() for line in lines), error
    assert "Traceback" not in str(error)
