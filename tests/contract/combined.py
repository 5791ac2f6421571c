"""The smallest file that asks for a feature of a federated run, and for two of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from nnray.config import Experiment, parse
from nnray.config.composition import BANS, FEATURES, Ban
from nnray.errors import ConfigError

Tree = Mapping[str, Any]

SITES = [{"name": "north", "resource": "n"}, {"name": "south", "resource": "s"}]
CLIENTS = {"clients": 6, "partition": "iid"}
CLIENT_PRIVACY = {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-3}
RANDOM = {"sampler": "poisson", "fraction_fit": 1.0}
ASKED: dict[str, Tree] = {
    "client privacy": {"privacy": {**CLIENT_PRIVACY, "mechanism": "tree"}},
    "trees": {"privacy": {**CLIENT_PRIVACY, "mechanism": "tree", "restart_every": 1}},
    "sampled privacy": {"privacy": CLIENT_PRIVACY, "federated": RANDOM},
    "noise at clients": {
        "privacy": {**CLIENT_PRIVACY, "noise_at": "clients"},
        "federated": {"secure": {}, "on_client_error": "drop"},
    },
    "example privacy": {"privacy": {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-3}},
    "secure": {"federated": {"secure": {}, "on_client_error": "drop"}},
    "robust": {"federated": {"aggregator": "median"}},
    "attack": {"federated": {"attack": {"name": "sign_flip", "fraction": 0.4}}},
    "colluding attack": {"federated": {"attack": {"name": "alie", "fraction": 0.4}}},
    "lying attack": {"federated": {"attack": {"name": "gaussian", "fraction": 0.4}}},
    "codec": {"federated": {"codec": "random_k"}},
    "own entries": {"federated": {"codec": "top_k"}},
    "devices": {"federated": {"devices": "lognormal"}},
    "asynchronous": {
        "federated": {"devices": "lognormal", "asynchronous": {"concurrency": 3, "buffer": 2}},
    },
    "sites": {"federated": {"sites": SITES}},
    "spares": {"federated": {"fraction_fit": 0.5, "over_select": 1}},
    "deadline": {"federated": {"deadline_s": 600.0}},
    "other loss": {"loss": {"name": "nnray.training.step:plain"}},
    "side by side": {"federated": {"stacked": True}},
    "personal": {"federated": {"strategy": "fedper", "holdout": 0.2}},
    "local": {"federated": {"strategy": "local", "holdout": 0.2}},
    "central": {"federated": {"strategy": "central"}},
}
"""By name of the feature. Every client is in every cohort, but where a feature says otherwise."""

_BASE: Tree = {
    "name": "combined",
    "data": {"name": "digits", "limit": 120},
    "model": {"name": "mlp", "hidden": [6]},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "training": {"batch_size": 8},
    "federated": {"rounds": 2, "workers": 0},
}


def tree_of(*names: str, **more: Tree) -> dict[str, Any] | None:
    """A file that asks for features; None where one setting would need two values.

    Args:
        names: Of the features.
        more: Sections that change what the features say.
    """
    found: dict[str, Any] = {
        name: dict(part) if isinstance(part, Mapping) else part for name, part in _BASE.items()
    }
    for name in names:
        for section, keys in ASKED[name].items():
            into = found.setdefault(section, {})
            if any(key in into and into[key] != value for key, value in keys.items()):
                return None
            into.update(keys)
    if "sites" in found["federated"]:
        del found["federated"]["workers"]
        found["data"]["validation"] = 0
    else:
        found["federated"] = {**CLIENTS, **found["federated"]}
    for section, keys in more.items():
        found[section] = {**found.get(section, {}), **keys}
    return found


def pairs() -> Iterator[tuple[str, ...]]:
    """Every feature by itself, and every two that one file can ask for; refused or not."""
    yield from ((name,) for name in FEATURES)
    yield from (pair for pair in combinations(FEATURES, 2) if tree_of(*pair) is not None)


def bans_of(*names: str) -> list[Ban]:
    """Those that a file meets which asks for features, by the features that each of them brings along."""
    asked = {name for name, feature in FEATURES.items() if any(feature.is_asked(alone(one)) for one in names)}
    return [ban for ban in BANS if {ban.one, ban.other} <= asked]


def alone(name: str) -> Experiment:
    """An experiment with one feature."""
    made = tree_of(name)
    assert made is not None
    return parse(made)


def refused(tree: Mapping[str, Any]) -> ConfigError | None:
    """What is wrong with a file; None for nothing."""
    try:
        parse(dict(tree))
    except ConfigError as error:
        return error
    return None
