"""Tables at clients: quantities are normalised by what clients tell, codes of categories by nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nnray.assembly import load_data
from nnray.config import parse
from nnray.data.splits import Examples
from nnray.runners.federated.setting import make_setting
from tests.unit.data.table_files import write_german


def test_codes_of_categories_are_not_normalised() -> None:
    write_german(Path())
    experiment = parse(
        {
            "name": "tables",
            "data": {"name": "german_credit", "root": "."},
            "model": "tabular_mlp",
            "federated": {"clients": 4, "partition": "iid", "rounds": 1},
        }
    )
    splits = load_data(experiment)
    info = make_setting(experiment, splits).info
    named = [at for at, count in enumerate(info.categories) if count]
    assert len(named) == 13
    assert {(info.mean[at], info.std[at]) for at in named} == {(0.0, 1.0)}
    assert isinstance(splits.train, Examples)
    quantity = splits.train.inputs[:, 1].double()
    assert info.mean[1] == pytest.approx(float(quantity.mean()), rel=1e-9)
    assert info.std[1] == pytest.approx(float(torch.std(quantity, correction=0)), rel=1e-9)
