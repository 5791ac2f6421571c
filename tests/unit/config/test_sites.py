"""The section on sites: what they rule out, and what they count."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.config import Experiment, dump, parse, require_federated
from nnray.errors import ConfigError

SITES = [
    {"name": "north", "resource": "n"},
    {"name": "south", "resource": "s", "root": "/data", "log": "/log"},
]


def made(federated: dict[str, Any]) -> Experiment:
    return parse(
        {
            "name": "sited",
            "data": {"name": "digits", "validation": 0},
            "model": {"name": "mlp"},
            "federated": {"sites": SITES, **federated},
        }
    )


def test_sites_are_the_clients() -> None:
    section = require_federated(made({"fraction_fit": 0.5}))
    assert section.sites is not None
    assert [(site.name, site.resource, site.root, site.log) for site in section.sites] == [
        ("north", "n", None, None),
        ("south", "s", "/data", "/log"),
    ]
    assert section.cohort_of(len(section.sites)) == 1


def test_what_is_written_down_reads_back() -> None:
    import yaml

    experiment = made({"max_update_norm": 2.0})
    assert parse(yaml.safe_load(dump(experiment))) == experiment


@pytest.mark.parametrize(
    ("federated", "path", "message"),
    [
        ({"clients": 2}, "clients", "each is one client (got 2)"),
        ({"partition": "natural"}, "partition", "each has its own data (got 'natural')"),
        ({"partition": {"name": "dirichlet", "alpha": 1.0}}, "partition", "(got 'dirichlet')"),
        ({"workers": 0}, "workers", "each has one worker (got 0)"),
        ({"stacked": True}, "stacked", "each trains by itself"),
        ({"cohort": 3}, "cohort", "which is 2 (got 3)"),
        ({"fraction_fit": 0.1}, "fraction_fit", "of 2 clients is nobody"),
        ({"min_updates": 3}, "min_updates", "which is 2 (got 3)"),
        ({"cohort": 1, "over_select": 2}, "over_select", "at most 1, the clients beside the cohort"),
        ({"sites": []}, "sites", "is empty: name at least one site"),
        ({"sites": [SITES[0], SITES[0] | {"resource": "x"}]}, "sites", "has the name 'north' twice"),
        ({"sites": [SITES[0], SITES[0] | {"name": "x"}]}, "sites", "has the resource 'n' twice"),
        ({"sites": [SITES[0] | {"resource": "CPU"}]}, "sites", "'CPU', which any node may have"),
        ({"sites": None, "clients": 2, "max_update_norm": 1.0}, "max_update_norm", "needs federated.sites"),
    ],
)
def test_what_sites_rule_out(federated: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(federated)
    (problem,) = caught.value.problems
    assert problem.path == f"federated.{path}"
    assert message in problem.message
