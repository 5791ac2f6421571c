"""Targets that are numbers: their mean and deviation are pooled over what clients and sites train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.assembly import load_data
from nnray.config import Experiment, parse
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.statistics import target_moments
from nnray.errors import ConfigError, DataError
from nnray.federated.statistics import Sums, mean_of, merged
from nnray.runners.federated import declared
from nnray.runners.federated.egress import Payload, from_bytes
from nnray.runners.federated.setting import Setting, first_weights, make_setting
from nnray.runners.federated.site import Plan, Site, cut
from tests.unit.data.series_files import write_stocks

NAMES = ("north", "south")


def experiment(folder: Path, *, sites: bool = False, **federated: Any) -> Experiment:
    """Four clients, each with an index; or two sites that hold all four."""
    places = [
        {"name": name, "resource": name, "root": str(folder), "log": str(folder / name)} for name in NAMES
    ]
    who = {"sites": places} if sites else {"partition": "natural", "workers": 0, "rounds": 1}
    return parse(
        {
            "name": "ahead",
            "task": {"name": "forecasting"},
            "data": {
                "name": "stock_indices",
                "root": str(folder),
                "past": 6,
                "horizon": 2,
                "validation": 0 if sites else 0.1,
            },
            "model": {"name": "series_gru", "units": 4},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "training": {"batch_size": 16},
            "federated": {**who, **federated},
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stocks(tmp_path / "series")
    return tmp_path


def test_those_of_clients_are_those_of_all_examples(folder: Path) -> None:
    splits = load_data(experiment(folder))
    found = make_setting(experiment(folder), splits).info
    assert found.target_mean == pytest.approx(splits.info.target_mean, rel=1e-9)
    assert found.target_std == pytest.approx(splits.info.target_std, rel=1e-9)


def test_what_clients_hold_out_has_no_part_in_them(folder: Path) -> None:
    made = experiment(folder, holdout=0.3)
    splits = load_data(made)
    setting = make_setting(made, splits)
    assert isinstance(splits.train, Examples)
    own = splits.train.targets[torch.from_numpy(setting.population.examples)]
    mean, std = target_moments(own, setting.info)
    assert setting.info.target_mean == pytest.approx(mean, rel=1e-9)
    assert setting.info.target_std == pytest.approx(std, rel=1e-9)
    assert setting.held is not None
    changed = splits.train.targets.clone()
    changed[torch.from_numpy(setting.held.examples)] += 1e3
    other = DataSplits(
        Examples(splits.train.inputs, changed), splits.val, splits.test, splits.info, splits.groups
    )
    assert make_setting(made, other).info.target_mean == setting.info.target_mean


class Played:
    """Both sites in this process, each asked as the driver asks it."""

    def __init__(self, made: Experiment) -> None:
        self.sites = [Site(Plan(made, number, "run")) for number in range(len(NAMES))]
        told = [from_bytes(site.call("about"), declared.about_schema()) for site in self.sites]
        self.infos = [declared.read_about(payload, name="stock_indices") for payload in told]
        self.info, count = self.infos[0]
        self.sizes = np.array([count, count])
        self.schema = {**declared.about_schema(), **declared.sums_schema(self.info)}

    def ask(self, method: str, *args: Any) -> list[Payload]:
        return [from_bytes(site.call(method, *args), self.schema) for site in self.sites]

    def sums(self, mean: torch.Tensor | None, kind: str) -> Sums:
        return merged(map(declared.read_sums, self.ask("sums", self.sizes, mean, kind)))


def test_a_site_tells_what_kind_of_targets_it_has(folder: Path) -> None:
    played = Played(experiment(folder, sites=True))
    for info, count in played.infos:
        assert (info.targets, info.target_shape, info.input_shape) == ("numbers", (1, 2), (1, 6))
        assert count == len(load_data(experiment(folder)).train)


def test_those_of_sites_are_those_of_what_they_train_on(folder: Path) -> None:
    made = experiment(folder, sites=True, holdout=0.25)
    played = Played(made)
    mean = mean_of(played.sums(None, declared.TARGET_SUMS))
    square = mean_of(played.sums(mean, declared.TARGET_SUMS))
    whole = load_data(made).train
    assert isinstance(whole, Examples)
    population, _ = cut(made, played.sizes, info=played.info)
    own = torch.cat([whole.targets, whole.targets])[torch.from_numpy(population.examples)]
    known = target_moments(own, played.info)
    assert (mean.tolist(), square.sqrt().tolist()) == (pytest.approx(known[0]), pytest.approx(known[1]))
    inputs = mean_of(played.sums(None, declared.SUMS))
    assert inputs.tolist() != mean.tolist()


def test_sites_train_and_measure_forecasts_as_declared(folder: Path) -> None:
    made = experiment(folder, sites=True, holdout=0.25)
    played = Played(made)
    info = replace(played.info, mean=(0.0,), std=(1.0,), target_mean=(10.0,), target_std=(3.0,))
    population, held = cut(made, played.sizes, info=played.info)
    examples = declared.blank(info, int(played.sizes.sum()))
    assert examples.targets.shape == (len(examples), 1, 2)
    assert examples.targets.is_floating_point()
    setting = Setting(made, info, examples, population, population, held, {}, None)
    played.schema |= declared.run_schema(setting)
    assert [part.kind for part in played.ask("ready", played.sizes, info)] == [declared.READY] * 2
    for payload in played.ask("measure", first_weights(setting)):
        assert payload.kind == declared.MEASURES, payload.words
        assert declared.read_measures(payload).count > 0


@pytest.mark.parametrize(
    "info",
    [
        DataInfo("a", (2,), ("x", "y")),
        DataInfo("a", (2, 5), (), targets="numbers", target_shape=(1, 3)),
        DataInfo("a", (2,), (), targets="numbers"),
        DataInfo("a", (1, 4, 4), ("x", "y"), targets="classes", target_shape=(4, 4)),
    ],
)
def test_what_is_told_of_targets_is_what_is_read(info: DataInfo) -> None:
    payload = declared.about(info, num_examples=3, client=0)
    assert declared.read_about(payload, name="a") == (info, 3)
    blank = declared.blank(info, 5)
    assert tuple(blank.targets.shape) == (5, *info.target_shape)
    assert (declared.TARGET_SUMS in declared.sums_schema(info)) == (info.targets == "numbers")


@pytest.mark.parametrize("kind", [-1, 4])
def test_a_kind_of_targets_that_is_none_is_refused(kind: int) -> None:
    payload = declared.about(DataInfo("a", (2,), ("x", "y")), num_examples=3, client=0)
    wrong = replace(payload, tensors={**payload.tensors, "targets": torch.tensor(kind)})
    with pytest.raises(DataError, match=f"targets of kind {kind}; allowed: 0 to 3"):
        declared.read_about(wrong, name="a")


def rows_in(splits: DataSplits, index: np.ndarray[Any, Any]) -> set[float]:
    """The values that windows at an index have; those of a random walk come once."""
    assert isinstance(splits.train, Examples)
    chosen = torch.from_numpy(index)
    windows = torch.cat([splits.train.inputs[chosen], splits.train.targets[chosen]], dim=-1)
    return set(windows.flatten().tolist())


def test_what_a_series_holds_out_comes_last_and_shares_no_row(folder: Path) -> None:
    made = experiment(folder, holdout=0.25)
    splits = load_data(made)
    setting = make_setting(made, splits)
    assert setting.held is not None and splits.info.overlap == 7
    for client in range(4):
        trained, held = setting.population.of(client), setting.held.of(client)
        assert trained.max() + splits.info.overlap < held.min()
        assert not rows_in(splits, trained) & rows_in(splits, held)
        nearer = np.append(trained, trained.max() + 1)
        assert rows_in(splits, nearer) & rows_in(splits, held), "no more is left out than has to be"


def test_clients_that_share_a_series_hold_nothing_out(folder: Path) -> None:
    made = experiment(folder, holdout=0.25, partition="iid", clients=3)
    with pytest.raises(ConfigError, match=r"federated\.holdout: examples of stock_indices overlap in time"):
        make_setting(made, load_data(made))
    make_setting(experiment(folder, partition="iid", clients=3), load_data(made))


def test_a_site_holds_its_last_windows_out(folder: Path) -> None:
    made = experiment(folder, sites=True, holdout=0.25)
    played = Played(made)
    population, held = cut(made, played.sizes, info=played.info)
    assert held is not None and played.info.overlap == 7
    assert all(population.of(site).max() + 7 < held.of(site).min() for site in (0, 1))
