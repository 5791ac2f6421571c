"""What is not refused runs: features of a federated run alone, in pairs, and with every entry of the catalog.

Each run is played to its end, and once more with a break after its first round: weights and measures are the
same. ``NNRAY_EXHAUSTIVE=1`` plays all runs; without it a share of them, drawn once.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from nnray.assembly import load_data
from nnray.catalog import CATALOG
from nnray.config import Experiment, parse
from nnray.errors import ConfigError, IncompatibleModel
from nnray.runners.federated.checks import require_possible
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.setting import make_setting
from tests.contract.combined import ASKED, Tree, pairs, refused, tree_of
from tests.unit.runners.federated.small import Ran, Told

T = TypeVar("T")

WITH_RAY = {"sites", "deadline"}
"""Need workers: tests/ray."""
EXHAUSTIVE = os.environ.get("NNRAY_EXHAUSTIVE") == "1"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, which take longer than a run."""
    monkeypatch.setattr(Ending, "_log_curve", lambda self: None)


def drawn(all_: Sequence[T], *, most: int) -> list[T]:
    """All of them, or some, the same ones each time."""
    return list(all_) if EXHAUSTIVE else random.Random(6).sample(all_, min(most, len(all_)))


def playable() -> Iterator[tuple[str, ...]]:
    for names in pairs():
        tree = tree_of(*names)
        if tree is not None and not WITH_RAY & set(names) and refused(tree) is None:
            yield names


PLAYABLE = list(playable())
ALONE = [names for names in PLAYABLE if len(names) == 1]
IN_PAIRS = [names for names in PLAYABLE if len(names) == 2]


def holds(made: Experiment) -> Ran:
    """A run is finite, and the same where it was interrupted."""
    whole, broken = Ran(made), Ran(made)
    expected = whole.go()
    with pytest.raises(KeyboardInterrupt):
        broken.go(Told(interrupt_after=1))
    result = broken.go()
    assert result.model_sha256 == expected.model_sha256
    assert [record.round for record in whole.history] == [1, 2]
    assert broken.measured == whole.measured
    assert all(math.isfinite(value) for metrics in whole.measured for value in metrics.values())
    return whole


@pytest.mark.parametrize("names", [*ALONE, *drawn(IN_PAIRS, most=30)], ids=" with ".join)
def test_what_is_not_refused_runs_and_resumes(names: tuple[str, ...]) -> None:
    tree = tree_of(*names)
    assert tree is not None
    holds(parse(tree))


def test_most_pairs_are_played() -> None:
    assert {name for names in PLAYABLE for name in names} == set(ASKED) - WITH_RAY
    assert len(IN_PAIRS) > 60


# What goes around a strategy, or says who trains and when.
AROUND: Mapping[str, Tree] = {
    "plain": {},
    "client privacy": {"privacy": ASKED["client privacy"]["privacy"]},
    **{name: ASKED[name] for name in ("robust", "attack", "colluding attack", "codec", "own entries")},
    **{name: ASKED[name] for name in ("secure", "devices", "asynchronous", "example privacy")},
}
NEEDS: Mapping[str, Mapping[str, Any]] = {
    "fedopt": {"server_optimizer": {"name": "sgd", "lr": 1.0}},
    "fedbuff": ASKED["asynchronous"]["federated"],
    "fedasync": ASKED["asynchronous"]["federated"],
}
MODELS: Mapping[str, Tree] = {"fedbn": {"model": {"norm": "batch"}}}
LEAST = {"central": 1, "local": 1, "fedbuff": 1, "fedasync": 1}
"""So many of those above go around a strategy; around one that makes weights of messages, five or more."""


def is_possible(made: Experiment) -> bool:
    """Whether an experiment passes all checks that are made before a run begins."""
    try:
        require_possible(make_setting(made, load_data(made)))
    except (ConfigError, IncompatibleModel):
        return False
    return True


@pytest.mark.parametrize("strategy", CATALOG["strategy"])
def test_every_strategy_is_refused_before_the_run_or_can_be_played(strategy: str) -> None:
    possible = []
    for asked in AROUND.values():
        keys = {"strategy": strategy, **NEEDS.get(strategy, {}), **asked.get("federated", {})}
        tree = tree_of(**{**asked, **MODELS.get(strategy, {}), "federated": keys})
        assert tree is not None
        if refused(tree) is None and is_possible(parse(tree)):
            possible.append(parse(tree))
    assert len(possible) >= LEAST.get(strategy, 5)
    for made in drawn(possible, most=2):
        holds(made)
