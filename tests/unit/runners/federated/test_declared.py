"""What is declared of a run is what its sites send: for every strategy that makes one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray import registry
from nnray.assembly import load_data
from nnray.config import Experiment, parse
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.federated.exact import Sums
from nnray.federated.outcome import RoundStart
from nnray.federated.statistics import mean_of
from nnray.runners.federated import declared
from nnray.runners.federated.egress import FAILURE, Payload, Refused, from_bytes
from nnray.runners.federated.setting import Setting, build_flat, make_setting, make_strategy
from nnray.runners.federated.site import Plan, Site, cut
from nnray.runners.federated.sites import require_apart
from nnray.runners.federated.worker import Worker

SIZES = np.array([200, 200])
REFUSED = ("central", "local", "fedper", "fedrep", "fedbn", "ditto", "pfedme", "fedbuff", "fedasync")
STRATEGIES = [name for name in registry.names("strategy") if name not in REFUSED]
"""All but those that `require_apart` refuses."""


def experiment(tmp_path: Path, *, federated: dict[str, Any] | None = None, **fields: Any) -> Experiment:
    sites = [{"name": name, "resource": name, "log": str(tmp_path / name)} for name in ("north", "south")]
    return parse(
        {
            "name": "sited",
            "data": {"name": "digits", "limit": 200, "validation": 0},
            "model": {"name": "mlp", "hidden": [8]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "training": {"batch_size": 20},
            "federated": {"sites": sites, "holdout": 0.2, **(federated or {})},
            **fields,
        }
    )


class Played:
    """A site in this process, and what the driver knows of it."""

    def __init__(self, made: Experiment) -> None:
        self.experiment, self.site = made, Site(Plan(made, 1, "run"))
        self.schema: Any = declared.about_schema()
        self.info, self.count = declared.read_about(self.ask("about"), name="digits")
        self.schema = {**self.schema, **declared.sums_schema(self.info)}
        population, held = cut(made, SIZES, info=self.info)
        examples = declared.blank(self.info, 400)
        self.setting = Setting(made, self.info, examples, population, population, held, {}, None)
        self.schema = {**self.schema, **declared.run_schema(self.setting)}

    def ask(self, method: str, *args: Any) -> Payload:
        return from_bytes(self.site.call(method, *args), self.schema)

    def start(self) -> RoundStart:
        weights = build_flat(self.setting).weights()
        strategy = make_strategy(self.experiment)
        return RoundStart(round=1, weights=weights, server=strategy.server_state(weights.params))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_sends_what_is_declared(strategy: str, tmp_path: Path) -> None:
    server = {"server_optimizer": {"name": "sgd", "lr": 1.0}} if strategy == "fedopt" else {}
    played = Played(experiment(tmp_path, federated={"strategy": strategy, **server}))
    assert played.ask("ready", SIZES, played.info).kind == declared.READY
    start, kept = played.start(), {}
    for _ in range(2):
        payload = played.ask("train", start, kept)
        assert payload.kind == declared.UPDATE, payload.words
        outcome = declared.read_update(payload, start, strategy=make_strategy(played.experiment))
        kept = dict(outcome.kept.get(1, {}))
    measured = played.ask("measure", start.weights)
    assert measured.kind == declared.MEASURES
    assert declared.read_measures(measured).count == 40


def test_batch_norm_is_declared_too(tmp_path: Path) -> None:
    played = Played(experiment(tmp_path, model={"name": "mlp", "hidden": [8], "norm": "batch"}))
    played.ask("ready", SIZES, played.info)
    payload = played.ask("train", played.start(), {})
    assert payload.kind == declared.UPDATE
    assert "vector.buffers" in payload.tensors


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fednova"])
def test_an_outcome_is_that_of_a_worker(strategy: str, tmp_path: Path) -> None:
    """To the last bit, with what it keeps and the bytes it counts."""
    played = Played(experiment(tmp_path, federated={"strategy": strategy}))
    played.ask("ready", SIZES, played.info)
    start = played.start()
    found = declared.read_update(
        played.ask("train", start, {}), start, strategy=make_strategy(played.experiment)
    )
    own = cut(played.experiment, SIZES, info=played.info)[0]
    train = load_data(played.experiment).train
    doubled = type(train)(train.inputs.repeat(2, 1, 1, 1), train.targets.repeat(2))  # type: ignore[union-attr]
    expected = Worker(replace(played.setting, train=doubled, population=own)).train(start, [[1]], {})
    assert_same(found.sums, expected.sums)
    assert found.bytes_up == expected.bytes_up
    assert found.kept.keys() == expected.kept.keys()
    for client, state in expected.kept.items():
        assert all(torch.equal(found.kept[client][name], value) for name, value in state.items())
    assert replace(found.reports[0], seconds=0) == replace(expected.reports[0], seconds=0)


def assert_same(one: Sums, other: Sums) -> None:
    assert one.vectors.keys() == other.vectors.keys()
    for name, value in other.vectors.items():
        assert torch.equal(one.vectors[name].total, value.total)
        assert one.vectors[name].weight == value.weight
    assert one.numbers == other.numbers


def test_statistics_are_sums_over_what_is_trained_on(tmp_path: Path) -> None:
    played = Played(experiment(tmp_path))
    told = declared.read_sums(played.ask("sums", SIZES, None))
    train = load_data(played.experiment).train
    own = cut(played.experiment, SIZES, info=played.info)[0].of(1) - 200
    pixels = train.inputs[torch.from_numpy(own)].double() / (255 if train.inputs.dtype == torch.uint8 else 1)  # type: ignore[union-attr]
    assert int(told.count) == pixels.numel()
    assert float(mean_of(told)) == pytest.approx(float(pixels.mean()), rel=1e-12)


def test_an_update_that_is_too_long_is_refused(tmp_path: Path) -> None:
    played = Played(experiment(tmp_path, federated={"max_update_norm": 1e-6}))
    played.ask("ready", SIZES, played.info)
    payload = played.ask("train", played.start(), {})
    assert payload.kind == FAILURE
    assert "longer than federated.max_update_norm, 1e-06" in payload.words[1]


def test_blank_examples_take_no_memory(tmp_path: Path) -> None:
    played = Played(experiment(tmp_path))
    assert played.setting.train.inputs.untyped_storage().nbytes() <= 8
    assert len(played.setting.train) == 400
    assert not played.setting.train.inputs.any()


@pytest.mark.parametrize(
    ("federated", "fields", "path"),
    [
        ({"strategy": "central"}, {}, "federated.strategy"),
        ({"strategy": "local"}, {}, "federated.strategy"),
        ({}, {"data": {"name": "digits"}}, "data.validation"),
    ],
)
def test_what_needs_data_in_one_place_is_refused(
    federated: dict[str, Any], fields: dict[str, Any], path: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        require_apart(experiment(tmp_path, federated=federated, **fields))
    assert [problem.path for problem in caught.value.problems] == [path]


def test_no_other_verb_shares_sites_out(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    with pytest.raises(ConfigError, match=r"federated\.sites: share nothing out"):
        make_setting(made, load_data(made))


def test_data_that_are_not_there_are_told_by_type(tmp_path: Path) -> None:
    site = {"name": "north", "resource": "n", "root": str(tmp_path / "nothing"), "log": str(tmp_path)}
    data = {"name": "csv", "label": "y", "validation": 0}
    made = experiment(tmp_path, federated={"sites": [site]}, data=data)
    payload = from_bytes(Site(Plan(made, 0, "run")).call("about"), declared.about_schema())
    assert payload.words == (DataError.__name__, "")


def test_words_that_each_site_would_number_anew_are_refused(tmp_path: Path) -> None:
    rows = [f"word{number} here,{number % 2}" for number in range(20)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    site = {"name": "north", "resource": "n", "root": str(tmp_path), "log": str(tmp_path)}
    data = {"name": "text_csv", "file": "texts.csv", "validation": 0}
    made = experiment(tmp_path, federated={"sites": [site]}, data=data, model={"name": "embedding_bag"})
    payload = from_bytes(Site(Plan(made, 0, "run")).call("about"), declared.about_schema())
    kind, text = payload.words
    assert kind == Refused.__name__
    assert "would be others at each site" in text


def test_tokens_and_categories_are_told() -> None:
    told = DataInfo("some", (3,), ("a", "b"), vocabulary=7, categories=(2, 0, 5), overlap=4)
    info, count = declared.read_about(declared.about(told, num_examples=4, client=0), name="some")
    assert (info, count) == (told, 4)
    assert declared.blank(info, 2).inputs.dtype == torch.int64
