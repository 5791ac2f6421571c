"""Ensembles obey what their rules promise, whatever the members say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnray.errors import ConfigError
from nnray.models.ensemble import Ensemble, Mean, Stack, Vote, features
from nnray.seeding import torch_rng

K, F = 4, 6
RULES: list[Mapping[str, Any]] = [{"name": "mean"}, {"name": "vote"}, {"name": "stack", "classes": K}]


class Says(nn.Module):
    """A member that says the same, whatever it is asked."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits.expand(len(inputs), -1)


def net(seed: int, hidden: int = 5) -> nn.Module:
    module = nn.Sequential(nn.Linear(F, hidden), nn.ReLU(), nn.Linear(hidden, K))
    rng = torch_rng(seed, "net")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng))
    return module


def inputs(num: int = 9) -> Tensor:
    return torch.randn(num, F, generator=torch_rng(0, "inputs"))


def three() -> list[nn.Module]:
    return [net(0), net(1, hidden=3), net(2, hidden=8)]


def random_logp(num_members: int, seed: int, spread: float = 3.0) -> Tensor:
    logits = spread * torch.randn(num_members, 50, K, generator=torch_rng(seed, "logits"))
    return logits.log_softmax(2)


@pytest.mark.parametrize("combine", RULES)
def test_outputs_are_log_probabilities(combine: Mapping[str, Any]) -> None:
    outputs = Ensemble(three(), combine)(inputs())
    assert outputs.shape == (9, K)
    torch.testing.assert_close(outputs.exp().sum(1), torch.ones(9))
    torch.testing.assert_close(outputs.softmax(1), outputs.exp())


@pytest.mark.parametrize("combine", RULES[:2])
def test_the_order_of_members_changes_nothing(combine: Mapping[str, Any]) -> None:
    members = three()
    torch.testing.assert_close(
        Ensemble(members, combine)(inputs()), Ensemble(members[::-1], combine)(inputs())
    )


@pytest.mark.parametrize("combine", [RULES[0], RULES[2]])
@pytest.mark.parametrize("num", [1, 3])
def test_identical_members_are_one(combine: Mapping[str, Any], num: int) -> None:
    member = net(0)
    alone = member(inputs()).log_softmax(1)
    torch.testing.assert_close(Ensemble([member] * num, combine)(inputs()), alone)


def test_identical_members_vote_as_one() -> None:
    alone = net(0)(inputs())
    assert torch.equal(Ensemble([net(0)] * 3, {"name": "vote"})(inputs()).argmax(1), alone.argmax(1))


@pytest.mark.parametrize("combine", RULES)
def test_examples_are_answered_one_by_one(combine: Mapping[str, Any]) -> None:
    ensemble, examples = Ensemble(three(), combine), inputs()
    alone = torch.cat([ensemble(example[None]) for example in examples])
    torch.testing.assert_close(ensemble(examples), alone)


@pytest.mark.parametrize("combine", RULES)
def test_the_state_dict_rebuilds_it(combine: Mapping[str, Any]) -> None:
    ensemble = Ensemble(three(), combine)
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter.add_(0.1)
    fresh = Ensemble([net(7), net(8, hidden=3), net(9, hidden=8)], combine)
    fresh.load_state_dict(ensemble.state_dict(), strict=True)
    assert torch.equal(fresh(inputs()), ensemble(inputs()))
    assert "members.0.0.weight" in ensemble.state_dict()


@pytest.mark.parametrize("combine", [*RULES, {"name": "mean", "weights": [3.0, 1.0, 1.0]}])
@pytest.mark.parametrize("num", [1, 7])
def test_it_is_exported_with_any_batch_size(combine: Mapping[str, Any], num: int) -> None:
    ensemble = Ensemble(three(), combine).eval()
    shapes = ({0: torch.export.Dim.AUTO},)
    saved = BytesIO()
    torch.export.save(torch.export.export(ensemble, (inputs(3),), dynamic_shapes=shapes), saved)
    saved.seek(0)
    loaded = torch.export.load(saved).module()
    torch.testing.assert_close(loaded(inputs(num)), ensemble(inputs(num)))


def test_what_the_rule_says_stands_in_the_rule_alone() -> None:
    weighted = Ensemble(three(), {"name": "mean", "weights": [3.0, 1.0, 1.0]})
    assert all(name.startswith("members.") for name in weighted.state_dict())
    stacked = Ensemble(three(), {"name": "stack", "classes": K}).state_dict()
    own = {name for name in stacked if not name.startswith("members.")}
    assert own == {"combine.weight", "combine.bias"}


@given(num=st.integers(1, 6), seed=st.integers(0, 99))
def test_the_mean_is_that_of_probabilities(num: int, seed: int) -> None:
    logp = random_logp(num, seed)
    torch.testing.assert_close(Mean([1.0] * num)(logp).exp(), logp.exp().mean(0))


@given(weights=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_weights_count_by_their_share(weights: list[float], seed: int) -> None:
    logp = random_logp(len(weights), seed)
    shares = torch.tensor(weights) / sum(weights)
    expected = (logp.exp() * shares[:, None, None]).sum(0)
    torch.testing.assert_close(Mean(weights)(logp).exp(), expected)


def test_a_weight_of_two_is_a_member_taken_twice() -> None:
    logp = random_logp(2, 0)
    twice = Mean([1.0] * 3)(logp[[0, 0, 1]])
    torch.testing.assert_close(Mean([2.0, 1.0])(logp), twice)


def test_the_smallest_probabilities_survive_the_mean() -> None:
    logits = torch.tensor([[0.0, -200.0]])
    outputs = Ensemble([Says(logits), Says(logits)], {"name": "mean"})(inputs(1))
    assert outputs[0, 1].item() == pytest.approx(-200.0)


@given(num=st.integers(1, 7), seed=st.integers(0, 199))
def test_the_majority_wins_and_ties_go_to_the_mean(num: int, seed: int) -> None:
    logp = random_logp(num, seed)
    answers = Vote()(logp).argmax(1)
    for index, answer in enumerate(answers.tolist()):
        votes = Counter(logp[:, index].argmax(1).tolist())
        most = max(votes.values())
        mean = logp[:, index].exp().mean(0)
        tied = [k for k in votes if votes[k] == most]
        assert answer == max(tied, key=lambda k: mean[k].item())


def test_no_mean_outweighs_a_vote() -> None:
    sure, unsure = torch.tensor([[40.0, 0.0]]), torch.tensor([[0.0, 1e-3]])
    ensemble = Ensemble([Says(sure), Says(unsure), Says(unsure)], {"name": "vote"})
    assert ensemble(inputs(1)).argmax(1).item() == 1
    by_mean = Ensemble([Says(sure), Says(unsure), Says(unsure)], {"name": "mean"})
    assert by_mean(inputs(1)).argmax(1).item() == 0


def test_a_class_without_votes_has_a_finite_loss_and_gradient() -> None:
    ensemble = Ensemble([net(0), net(0)], {"name": "vote"})
    examples = inputs().requires_grad_()
    loss = nn.functional.cross_entropy(ensemble(examples), torch.zeros(9, dtype=torch.int64))
    loss.backward()
    assert loss.isfinite()
    assert examples.grad is not None
    assert examples.grad.isfinite().all()


def test_a_stack_begins_as_the_geometric_mean() -> None:
    logp = random_logp(3, 0)
    torch.testing.assert_close(Stack(3, K)(logp), logp.mean(0).log_softmax(1))


def test_features_stand_member_by_member() -> None:
    logp = random_logp(2, 0, spread=1.0)
    assert torch.equal(features(logp), torch.cat([logp[0], logp[1]], 1))
    assert features(torch.full((1, 1, 2), -torch.inf)).tolist() == [[-30.0, -30.0]]


@pytest.mark.parametrize("combine", RULES)
def test_a_broken_member_is_seen(combine: Mapping[str, Any]) -> None:
    broken = Says(torch.full((1, K), torch.nan))
    assert Ensemble([net(0), broken, net(2)], combine)(inputs()).isnan().all()


@pytest.mark.parametrize(
    ("num", "combine", "words"),
    [
        (0, {"name": "mean"}, "members: there are none"),
        (2, {"name": "men"}, "did you mean 'mean'"),
        (2, {}, "allowed: mean, stack, vote"),
        (2, {"name": "vote", "weights": [1, 1]}, "vote takes no 'weights'"),
        (2, {"name": "mean", "weights": [1.0]}, "got \\[1.0\\] for 2 members"),
        (2, {"name": "mean", "weights": [1.0, 0.0]}, "above 0"),
        (2, {"name": "stack"}, "needs the number of classes"),
        (2, {"name": "stack", "classes": "4"}, "got '4'"),
    ],
)
def test_another_rule_is_refused(num: int, combine: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Ensemble([net(seed) for seed in range(num)], combine)
