"""What doesn't compose is refused in one place, with a reason and a way out that is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nnray.catalog import CATALOG
from nnray.config import parse
from nnray.config.composition import BANS, FEATURES, Ban, table
from tests.contract.combined import ASKED, Tree, alone, bans_of, pairs, refused, tree_of

EVERY = [(ban.one, ban.other) for ban in BANS]
PAIRS = [pair for pair in pairs() if len(pair) == 2]

# A feature that the way out keeps, and what it asks for in place of the other; None: leaves the other out.
Exit = tuple[str, Tree | None]
EXAMPLE = {"privacy": {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-3}}


def attack(name: str) -> Tree:
    return {"federated": {"attack": {"name": name, "fraction": 0.4}}}


def strategy(name: str) -> Tree:
    return {"federated": {"strategy": name}}


HONEST_MESSAGES: list[Exit] = [("", attack(name)) for name in ("sign_flip", "gaussian", "scale")]
EXITS: Mapping[tuple[str, str], list[Exit]] = {
    ("client privacy", "colluding attack"): [("client privacy", more) for _, more in HONEST_MESSAGES],
    ("client privacy", "asynchronous"): [("client privacy", None), ("asynchronous", EXAMPLE)],
    ("client privacy", "personal"): [
        ("client privacy", strategy(name)) for name in ("fedavg", "fedprox", "fedavgm", "fedadam")
    ],
    ("client privacy", "sites"): [("sites", EXAMPLE)],
    ("client privacy", "local"): [("local", None)],
    ("example privacy", "side by side"): [("example privacy", {"federated": {"stacked": "auto"}})],
    ("secure", "robust"): [
        ("robust", None),
        ("secure", {"federated": {"aggregator": "mean"}, **ASKED["client privacy"]}),
    ],
    ("secure", "colluding attack"): [("secure", more) for _, more in HONEST_MESSAGES],
    ("secure", "own entries"): [("secure", {"federated": {"codec": "random_k"}})],
    ("secure", "side by side"): [("secure", {"federated": {"stacked": "auto"}})],
    ("secure", "sites"): [("secure", None), ("sites", None)],
    ("attack", "side by side"): [("attack", {"federated": {"stacked": "auto"}})],
    ("lying attack", "local"): [("local", attack(name)) for name in ("label_flip", "backdoor")],
    ("colluding attack", "asynchronous"): [("asynchronous", more) for _, more in HONEST_MESSAGES],
    ("devices", "deadline"): [("devices", {"federated": {"round_deadline_s": 60.0}})],
    ("sites", "personal"): [("sites", strategy(name)) for name in ("fedavg", "scaffold")],
    ("sites", "local"): [("sites", strategy("fedavg"))],
    ("sites", "central"): [("sites", strategy("fedavg"))],
    ("deadline", "side by side"): [("deadline", {"federated": {"stacked": "auto"}})],
    ("example privacy", "other loss"): [("example privacy", {"loss": {"name": "plain"}})],
    ("side by side", "other loss"): [("other loss", {"federated": {"stacked": "auto"}})],
    ("side by side", "personal"): [("personal", {"federated": {"stacked": "auto"}})],
    ("side by side", "local"): [("local", {"federated": {"stacked": "auto"}})],
    ("side by side", "central"): [("central", {"federated": {"stacked": "auto"}})],
}
"""Ways out that ask for something else; of all other bans one of both features is left out."""


def meets(ban: Ban) -> dict[str, Any]:
    """A file that asks for both, and for nothing else that is wrong."""
    tree = tree_of(ban.one, ban.other)
    assert tree is not None, "no setting would need two values"
    if (ban.one, ban.other) == ("asynchronous", "spares"):
        # Cohorts are refused by the section itself; how many clients there are is not known to the file.
        del tree["federated"]["fraction_fit"], tree["federated"]["clients"]
        tree["federated"]["partition"] = {"name": "natural"}
    return tree


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: f"{ban.other} with {ban.one}")
def test_a_ban_is_refused_with_its_reason_and_what_is_nearest(ban: Ban) -> None:
    error = refused(meets(ban))
    assert error is not None
    said = [problem for problem in error.problems if ban.reason in problem.message]
    assert [problem.path for problem in said] == [FEATURES[ban.other].path]
    (problem,) = said
    for part in (FEATURES[ban.one].title, FEATURES[ban.one].path, FEATURES[ban.other].title, ban.instead):
        assert part in problem.message
    assert len(error.problems) == len(bans_of(ban.one, ban.other)), "nothing else is wrong with the file"


@pytest.mark.parametrize("pair", PAIRS, ids=" with ".join)
def test_two_features_are_refused_where_a_ban_says_so_and_nowhere_else(pair: tuple[str, str]) -> None:
    tree = tree_of(*pair)
    assert tree is not None
    error, bans = refused(tree), bans_of(*pair)
    elsewhere = {frozenset(pair)} & ELSEWHERE
    assert (error is not None) == bool(bans or elsewhere), error or bans


ELSEWHERE = {
    frozenset(pair)
    for pair in (
        ("client privacy", "noise at clients"),
        ("trees", "noise at clients"),
        ("sites", "side by side"),
    )
}
"""Refused by a section's own check: both settings stand in it."""


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_seen_where_it_is_asked_for(name: str) -> None:
    assert FEATURES[name].is_asked(alone(name))


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_not_seen_where_nothing_is_asked_for(name: str) -> None:
    plain = tree_of()
    assert plain is not None
    assert not FEATURES[name].is_asked(parse(plain))
    training = {key: value for key, value in plain.items() if key != "federated"}
    assert not FEATURES[name].is_asked(parse(training))
    privately = {**training, "privacy": EXAMPLE["privacy"]}
    assert not FEATURES[name].is_asked(parse(privately)), "nnray train has no clients"


def with_feature(name: str, kind: str, key: str) -> set[str]:
    """Entries of the catalog with which a file asks for a feature."""
    return {entry for entry in CATALOG[kind] if FEATURES[name].is_asked(parse(tree_with(key, entry)))}


def tree_with(key: str, entry: str) -> dict[str, Any]:
    """A file that names an entry, with what that can't do without."""
    needs: dict[str, Tree] = {
        "fedopt": {"server_optimizer": "sgd"},
        "fedbuff": ASKED["asynchronous"]["federated"],
        "fedasync": ASKED["asynchronous"]["federated"],
    }
    keys: dict[str, Any] = {
        "attack": {"fraction": 0.4},
        "trace": {"file": "phones.json"},
        "fltrust": {"root_client": 0},
        **{rule: {"num_byzantine": 0} for rule in ("krum", "multi_krum", "bulyan")},
    }
    component = {"name": entry, **keys.get(key, {}), **keys.get(entry, {})}
    tree = tree_of(federated={**needs.get(entry, {}), key: component})
    assert tree is not None
    return tree


def test_features_go_by_all_names_of_the_catalog() -> None:
    """A new entry that needs a place among them fails here."""
    personal = {"fedper", "fedrep", "fedbn", "ditto", "pfedme"}
    assert with_feature("personal", "strategy", "strategy") == personal
    assert with_feature("own entries", "codec", "codec") == set(CATALOG["codec"]) - {"random_k"}
    lying = set(CATALOG["client_attack"]) - {"label_flip", "backdoor"}
    assert with_feature("lying attack", "client_attack", "attack") == lying
    assert with_feature("robust", "aggregator", "aggregator") == set(CATALOG["aggregator"]) - {"mean"}
    assert with_feature("devices", "device", "devices") == set(CATALOG["device"])


def test_no_ban_stands_twice_or_names_what_there_is_not() -> None:
    assert {name for ban in BANS for name in (ban.one, ban.other)} <= set(FEATURES)
    assert len({frozenset(pair) for pair in EVERY}) == len(EVERY)
    assert set(EXITS) <= set(EVERY)
    assert set(ASKED) == set(FEATURES)


def without(ban: Ban) -> list[Exit]:
    """Leave out the one that the text names, which is either of them."""
    return [(ban.one, None), (ban.other, None)]


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: f"{ban.other} with {ban.one}")
def test_what_is_nearest_is_itself_allowed(ban: Ban) -> None:
    for kept, instead in EXITS.get((ban.one, ban.other), without(ban)):
        tree = tree_of(kept)
        assert tree is not None
        for section, keys in (instead or {}).items():
            tree[section] = {**tree.get(section, {}), **keys}
        assert refused(tree) is None, (kept, instead)
    for _, instead in EXITS.get((ban.one, ban.other), []):
        assert names_in(instead or {}) <= {word.strip(",;:.") for word in ban.instead.split()}


def names_in(tree: Tree) -> set[str]:
    """Names of the catalog in a way out, which its text has to give."""
    keys = tree.get("federated", {})
    found = {keys[key] for key in ("strategy", "codec", "aggregator") if key in keys}
    return found | ({keys["attack"]["name"]} if "attack" in keys else set())


def test_training_obeys_the_section_that_pooled_clients_may_not() -> None:
    plain = tree_of()
    assert plain is not None
    del plain["federated"]
    assert refused({**plain, **EXAMPLE}) is None


def test_all_that_is_banned_is_told_at_once() -> None:
    tree = tree_of("secure", "robust", "colluding attack", "own entries")
    assert tree is not None
    error = refused(tree)
    assert error is not None
    assert [problem.path for problem in error.problems] == [
        "federated.aggregator",
        "federated.attack",
        "federated.codec",
    ]


def test_the_table_has_a_line_for_each_ban() -> None:
    head, rule, *lines = table().splitlines()
    assert head.count("|") == rule.count("|") == 5
    assert len(lines) == len(BANS)
    for ban, line in zip(BANS, lines, strict=True):
        assert line.count("|") == 5, "no text breaks the table"
        for part in (FEATURES[ban.one].title, FEATURES[ban.other].title, ban.reason, ban.instead):
            assert part in line
