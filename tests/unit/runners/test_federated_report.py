"""The report on a partition: figures, table and heat map."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from nnray.errors import ConfigError, DataError
from nnray.federated.heterogeneity import Heterogeneity
from nnray.runners.federated.heatmap import draw_heterogeneity
from nnray.runners.federated.report import PartitionReport, report
from tests.unit.runners.federated_runs import experiment_of


def reported(tmp_path: Path, **federated: Any) -> PartitionReport:
    return report(experiment_of(tmp_path, **federated), tmp_path / "report")


def heterogeneity(clients: int) -> Heterogeneity:
    counts = np.stack([np.arange(1, clients + 1), np.full(clients, 3)], axis=1)
    names = tuple(f"h{client}" for client in range(clients))
    return Heterogeneity(counts.sum(axis=1), counts, np.linspace(0, 0.5, clients), names, ("ill", "well"))


def test_the_table_has_every_client_and_adds_up(tmp_path: Path) -> None:
    made = reported(tmp_path, partition={"name": "shards"})
    head, *rows = csv.reader(made.table.read_text().splitlines())
    assert head == ["client", "examples", "distance", *"0123456789"]
    assert len(rows) == 20
    for row in rows:
        assert int(row[1]) == sum(map(int, row[3:]))
    assert sum(int(row[1]) for row in rows) == made.to_dict()["examples"]


def test_what_is_told_follows_the_partition(tmp_path: Path) -> None:
    alike, unlike = (reported(tmp_path / name, partition=name).to_dict() for name in ("iid", "shards"))
    assert unlike["mean_distance"] > 2 * alike["mean_distance"]
    assert unlike["mean_classes"] < 5 < alike["mean_classes"]
    assert json.loads(json.dumps(unlike)) == unlike


def test_it_is_the_same_each_time_and_another_for_another_seed(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, partition="dirichlet")
    first, again = (report(experiment, tmp_path / name).table.read_text() for name in "ab")
    other = report(experiment.model_copy(update={"seed": 1}), tmp_path / "c").table.read_text()
    assert first == again
    assert first != other


def test_the_summary_says_where_the_files_are(tmp_path: Path) -> None:
    made = reported(tmp_path)
    assert made.summary().splitlines()[0] == "partition iid"
    assert made.summary().endswith(f"plot  {made.png}\ntable {made.table}")
    assert made._repr_png_() == made.png.read_bytes()
    assert made._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_shared_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"federated\.clients: 9999 clients"):
        reported(tmp_path, clients=9999)
    with pytest.raises(DataError, match="natural needs to know who each example came from"):
        reported(tmp_path, partition="natural", clients=None)
    with pytest.raises(ConfigError, match=r"federated: is missing"):
        report(experiment_of(tmp_path).model_copy(update={"federated": None}), tmp_path / "report")


def test_the_map_shows_shares_sizes_and_distances() -> None:
    found = heterogeneity(4)
    made = draw_heterogeneity(found, title="hospitals")
    assert isinstance(made, Figure)
    labels, sizes, far, _ = made.axes
    shares = np.asarray(labels.get_images()[0].get_array())
    assert shares.sum(axis=1) == pytest.approx(np.ones(4))
    assert shares[:, 0] == pytest.approx(np.arange(1, 5) / np.arange(4, 8))
    assert [bar.get_width() for bar in sizes.patches] == found.sizes.tolist()  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in far.patches] == found.distances.tolist()  # type: ignore[attr-defined]
    assert [text.get_text() for text in labels.get_xticklabels()] == ["ill", "well"]
    assert [text.get_text() for text in labels.get_yticklabels()] == ["h0", "h1", "h2", "h3"]


def test_of_very_many_clients_some_are_shown_and_it_says_so() -> None:
    made = draw_heterogeneity(heterogeneity(5000), title="writers")
    assert np.asarray(made.axes[0].get_images()[0].get_array()).shape == (400, 2)
    assert made.get_suptitle() == "writers (400 of 5000 clients shown)"
    assert made.axes[1].patches[-1].get_width() == 5003  # type: ignore[attr-defined]
    assert draw_heterogeneity(heterogeneity(400), title="writers").get_suptitle() == "writers"
