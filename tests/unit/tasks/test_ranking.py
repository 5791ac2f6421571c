"""The ranking task: golden numbers, ties, an oracle over all pairs, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from nnray.data.splits import NO_CLASS, DataInfo
from nnray.errors import DataError
from nnray.metrics import mode_of, to_sums
from nnray.seeding import torch_seeded
from nnray.tasks.exhibit import Passage
from nnray.tasks.ranking import Ranking, drawn_bpr, ranking

RATES = (0.9, 0.1, 0.5, 0.3)
INFO = DataInfo(
    "films", (1,), ("no", "yes"), targets="classes", target_shape=(4,), categories=(3,), target_rates=RATES
)
SCORES = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
# The first user is asked of all, the second had rated the first film.
SHOWN = [
    *("example 0, 0 places not asked for", "    A", "    B", "  * C", "    D"),
    *("example 1, 1 places not asked for", "  * D", "    C", "    B"),
]
TARGETS = torch.tensor([[0, 0, 1, 0], [NO_CLASS, 0, 0, 1]])


def measured(task: Ranking, scores: Tensor, targets: Tensor) -> dict[str, float]:
    return task.summarize(to_sums(task.eval_sums(scores, targets), len(targets)))


def drawn(seed: int, *, size: int = 5, places: int = 9) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, places, generator=rng).round(decimals=1)
    targets = torch.randint(0, 3, (size, places), generator=rng)
    return scores, torch.where(targets == 2, NO_CLASS, targets)


def test_golden_numbers() -> None:
    """Two films stand before the first user's, none before the second's; by popularity one does each."""
    found = measured(ranking(INFO, top=2), SCORES, TARGETS)
    assert found["hr2"] == 1 / 2
    assert found["ndcg2"] == 1 / 2
    assert found["popularity_hr2"] == 1.0
    assert found["popularity_ndcg2"] == pytest.approx(1 / math.log2(3))
    assert measured(ranking(INFO, top=3), SCORES, TARGETS)["ndcg3"] == pytest.approx((0.5 + 1) / 2)


def test_golden_losses() -> None:
    bpr = ranking(INFO).loss(SCORES, TARGETS)
    first = -(logsigmoid(torch.tensor([-2.0, -1.0, 1.0]))).mean()
    second = -(logsigmoid(torch.tensor([2.0, 1.0]))).mean()
    torch.testing.assert_close(bpr, (first + second) / 2)
    softmax = ranking(INFO, loss="softmax").loss(SCORES, TARGETS)
    wanted = -(SCORES[0].log_softmax(0)[2] + SCORES[1, 1:].log_softmax(0)[2]) / 2
    torch.testing.assert_close(softmax, wanted)


def test_a_film_that_the_user_had_rated_does_not_count() -> None:
    """Whatever score it has."""
    for kind in ("bpr", "softmax"):
        task, other = ranking(INFO, loss=kind), SCORES.clone()  # type: ignore[arg-type]
        other[1, 0] = 99.0
        assert measured(task, other, TARGETS) == measured(task, SCORES, TARGETS)


@pytest.mark.parametrize(("top", "hits"), [(1, 0.0), (2, 1.0)])
def test_of_equal_scores_half_come_before(top: int, hits: float) -> None:
    """A model that says nothing finds nothing by the order of films: 1 of 2 others counts as before."""
    targets = torch.tensor([[1, 0, 0, NO_CLASS]])
    assert measured(ranking(INFO, top=top), torch.zeros(1, 4), targets)[f"hr{top}"] == hits


def test_a_user_with_nothing_to_be_found_is_a_miss_without_a_loss() -> None:
    targets = torch.cat([TARGETS, torch.tensor([[0, NO_CLASS, 0, 0]])])
    scores = torch.cat([SCORES, SCORES[:1]])
    task = ranking(INFO, top=3)
    two, three = measured(task, SCORES, TARGETS), measured(task, scores, targets)
    assert three["hr3"] == pytest.approx(2 / 3 * two["hr3"])
    assert three["loss"] == pytest.approx(two["loss"])
    assert measured(task, SCORES, 0 * TARGETS) == dict.fromkeys(three, 0.0)


def test_scores_that_are_no_numbers_find_nothing() -> None:
    targets = torch.tensor([[0, 1, 0, 0], [NO_CLASS, 0, 0, 1]])
    found = measured(ranking(INFO, top=2), torch.full((2, 4), math.nan), targets)
    assert (found["hr2"], found["ndcg2"]) == (0, 0)
    one = torch.tensor([[1.0, math.nan, 0, 0], [0, 0, 0, 1]])
    assert measured(ranking(INFO, top=2), one, targets)["hr2"] == 0.5


def by_hand(scores: list[float], targets: list[int], top: int) -> tuple[float, float]:
    """Hit rate and NDCG of one user, by sorting."""
    asked = [(s, t) for s, t in zip(scores, targets, strict=True) if t != NO_CLASS]
    hits, gain, found = 0, 0.0, [s for s, t in asked if t == 1]
    if not found:
        return 0.0, 0.0
    for score in found:
        rank = sum(s > score for s, _ in asked) + (sum(s == score for s, _ in asked) - 1) / 2
        hits += rank < top
        gain += (rank < top) / math.log2(rank + 2)
    best = sum(1 / math.log2(place + 2) for place in range(min(top, len(found))))
    return hits / len(found), gain / best


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), top=st.integers(1, 9))
def test_figures_are_those_of_a_plain_count(seed: int, top: int) -> None:
    scores, targets = drawn(seed)
    pairs = zip(scores.double().tolist(), targets.tolist(), strict=True)
    figures = [by_hand(one, other, top) for one, other in pairs]
    found = measured(Ranking((9,), top=top), scores, targets)
    assert found[f"hr{top}"] == pytest.approx(sum(hit for hit, _ in figures) / 5)
    assert found[f"ndcg{top}"] == pytest.approx(sum(gain for _, gain in figures) / 5)


def test_pairs_may_be_compared_in_any_number_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, targets = drawn(3, size=20)
    whole = measured(Ranking((9,)), scores, targets)
    monkeypatch.setattr("nnray.tasks.ranking._PAIRS", 3)
    assert measured(Ranking((9,)), scores, targets) == pytest.approx(whole)


def test_the_loss_by_drawn_places_is_that_by_all_in_the_mean() -> None:
    """The exact loss is the oracle."""
    scores, targets = drawn(1, size=4, places=12)
    with torch_seeded(0, "draws"):
        estimates = torch.stack([drawn_bpr(scores, targets, negatives=8) for _ in range(1500)])
    error = estimates.std() / 1500**0.5
    assert abs(estimates.mean() - ranking(INFO).loss(scores, targets)) < 4 * error
    assert error < 0.01


class Given(nn.Module):
    """Answers with its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(SCORES.clone())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scores[inputs[:, 0].long()]


@pytest.mark.parametrize("kind", ["bpr", "softmax"])
def test_learning_lifts_what_is_to_be_found_and_leaves_what_is_not_asked(kind: Any) -> None:
    model = Given()
    with torch_seeded(0, "draws"):
        outputs, loss = ranking(INFO, loss=kind, negatives=50).loss_of(
            model, torch.tensor([[0.0], [1.0]]), TARGETS
        )
    loss.backward()
    assert torch.equal(outputs, SCORES)
    assert model.scores.grad is not None
    assert torch.equal(model.scores.grad.sign(), torch.tensor([[1.0, 1, -1, 1], [0, 1, 1, -1]]))


def test_draws_are_those_of_the_seed() -> None:
    scores, targets = drawn(1)
    losses = []
    for seed in (0, 0, 1):
        with torch_seeded(seed, "train", 1):
            losses.append(float(drawn_bpr(scores, targets, negatives=2)))
    assert losses[0] == losses[1] != losses[2]


def test_without_rates_nothing_is_said_of_popularity() -> None:
    assert measured(Ranking((4,)), SCORES, TARGETS).keys() == {"loss", "hr10", "ndcg10"}


def test_figures_are_read_in_the_right_direction() -> None:
    names = measured(ranking(INFO), SCORES, TARGETS)
    assert [name for name in names if mode_of(name) == "min"] == ["loss"]


@pytest.mark.parametrize(
    "info",
    [
        DataInfo("a", (1,), ("no", "yes")),
        DataInfo("a", (1,), ("x", "y", "z"), targets="classes", target_shape=(4,)),
        DataInfo("a", (1,), ("no", "yes"), targets="classes", target_shape=(4, 4)),
        DataInfo("a", (1,), (), targets="numbers", target_shape=(4,)),
    ],
)
def test_other_data_are_refused(info: DataInfo) -> None:
    with pytest.raises(DataError, match=r"data set a has .*use a data set such as movielens_ranking"):
        ranking(info)


def test_what_is_shown_are_the_first_places_that_are_asked() -> None:
    task = ranking(replace(INFO, target_names=("A", "B", "C", "D")), top=4)
    with torch.no_grad():
        shown = task.exhibits(Given(), torch.tensor([[0.0], [1.0]]), TARGETS, seed=0)
    assert shown == {"first_places": Passage("\n".join(SHOWN))}


def test_places_without_names_are_numbered() -> None:
    with torch.no_grad():
        shown = ranking(INFO, top=1).exhibits(Given(), torch.tensor([[0.0]]), TARGETS[:1], seed=0)
    assert shown == {"first_places": Passage("example 0, 0 places not asked for\n    place 0")}
