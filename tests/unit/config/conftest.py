"""A catalog of fakes, so that what config does doesn't depend on which plug-ins there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray import catalog

FAKES = {
    "dataset": ("tiny",),
    "augmentation": ("flip",),
    "model": ("mlp", "cnn", "named"),
    "task": ("classification",),
    "loss": ("plain",),
    "optimizer": ("adam", "sgd"),
    "schedule": ("constant",),
    "searcher": ("tpe",),
    "scheduler": ("asha",),
    "partition": ("iid", "natural"),
    "sampler": ("uniform", "poisson"),
    "strategy": ("fedavg", "fedopt"),
    "aggregator": ("median",),
    "client_attack": ("sign_flip",),
    "codec": ("top_k",),
    "device": ("lognormal",),
}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog holds the functions of fakeplugs, and nothing else."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "fakes")
    table = {kind: {name: f"fakeplugs:{name}" for name in names} for kind, names in FAKES.items()}
    monkeypatch.setattr(catalog, "CATALOG", table)
