"""The laws of every searcher."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from nnray.catalog import CATALOG
from nnray.config import Range
from nnray.registry import resolve
from nnray.runners.sweep.study import Study, open_study

SEARCHERS = tuple(CATALOG["searcher"])
CLAIM_TO_LEARN = tuple(name for name in SEARCHERS if name not in ("random", "grid"))
SPACE = {
    "lr": Range(loguniform=(1e-5, 1.0)),
    "dropout": Range(uniform=(0.0, 0.9)),
    "width": Range(int=(1, 64)),
    "kind": Range(choice=["a", "b", "c"]),
}


def loss(params: dict[str, float]) -> float:
    """A smooth bowl with one kind better than the others; its minimum is 0."""
    import math

    bowl = (math.log10(params["lr"]) + 2.5) ** 2 + 4 * (params["dropout"] - 0.3) ** 2
    return bowl + abs(params["width"] - 40) / 40 + (0.0 if params["kind"] == "b" else 0.7)


def study_of(name: str, folder: Path, *, seed: int, mode: str = "min") -> Study:
    sampler = resolve("searcher", name)("loss", mode, seed)
    return open_study(
        folder / f"{name}-{seed}", name=f"{name}-{seed}", mode=mode, space=SPACE, sampler=sampler
    )


def search(study: Study, *, trials: int) -> list[tuple[dict[str, float], float]]:
    """Run trials one after another."""
    seen = []
    for _ in range(trials):
        number, params = study.propose()
        study.end(number, "finished", value=loss(params), reason="")
        seen.append((params, loss(params)))
    return seen


@pytest.mark.parametrize("name", SEARCHERS)
def test_proposals_lie_in_their_ranges(name: str, tmp_path: Path) -> None:
    for params, _ in search(study_of(name, tmp_path, seed=0), trials=20):
        assert params.keys() == SPACE.keys()
        assert all(SPACE[path].holds(value) for path, value in params.items()), params


@pytest.mark.parametrize("name", SEARCHERS)
def test_same_seed_gives_same_trials(name: str, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first = search(study_of(name, tmp_path, seed=3), trials=16)
    assert search(study_of(name, tmp_path / "again", seed=3), trials=16) == first


@pytest.mark.parametrize("name", SEARCHERS)
def test_another_seed_gives_other_trials(name: str, tmp_path: Path) -> None:
    first, other = (search(study_of(name, tmp_path, seed=seed), trials=3) for seed in (1, 2))
    assert first != other


@pytest.mark.parametrize("name", SEARCHERS)
def test_seeds_of_63_bits_are_taken(name: str, tmp_path: Path) -> None:
    assert search(study_of(name, tmp_path, seed=2**63 - 1), trials=1)


@pytest.mark.parametrize("name", SEARCHERS)
def test_given_points_come_first_and_in_order(name: str, tmp_path: Path) -> None:
    study = study_of(name, tmp_path, seed=0)
    study.first({"lr": 0.01, "kind": "c"})
    study.first({"lr": 0.02, "kind": "a"})
    found = [study.propose()[1] for _ in range(2)]
    assert [(p["lr"], p["kind"]) for p in found] == [(0.01, "c"), (0.02, "a")]


@pytest.mark.parametrize("name", SEARCHERS)
def test_failed_and_pruned_trials_do_not_end_the_search(name: str, tmp_path: Path) -> None:
    study = study_of(name, tmp_path, seed=0)
    for turn in range(16):
        number, params = study.propose()
        study.report(number, 1, loss(params))
        state = ("failed", "pruned", "finished")[turn % 3]
        study.end(number, state, value=loss(params), reason="because")  # type: ignore[arg-type]
    states = [trial.state.name for trial in study.inner.get_trials(deepcopy=False)]
    assert states.count("COMPLETE") == 5
    assert states.count("PRUNED") == 5
    assert states.count("FAIL") == 6


@pytest.mark.parametrize("name", CLAIM_TO_LEARN)
def test_beats_random_on_a_known_function(name: str, tmp_path: Path) -> None:
    """In the median of 5 seeds, 40 trials each."""

    def best(searcher: str) -> float:
        runs = (search(study_of(searcher, tmp_path, seed=seed), trials=40) for seed in range(5))
        return statistics.median(min(value for _, value in run) for run in runs)

    assert best(name) < 0.7 * best("random")


def test_maximizing_is_minimizing_the_negative(tmp_path: Path) -> None:
    down, up = (study_of("tpe", tmp_path / mode, seed=5, mode=mode) for mode in _made(tmp_path, "min", "max"))
    for _ in range(20):
        (low, params), (high, mirrored) = down.propose(), up.propose()
        assert params == mirrored
        down.end(low, "finished", value=loss(params), reason="")
        up.end(high, "finished", value=-loss(params), reason="")


def _made(folder: Path, *names: str) -> tuple[str, ...]:
    for name in names:
        (folder / name).mkdir()
    return names
