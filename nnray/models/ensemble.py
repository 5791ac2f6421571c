"""Several classifiers as one: the same inputs go to all members, and one answer comes out.

What comes out are log-probabilities, whose softmax is themselves: every other verb takes them for logits.

Legend: M members, B examples, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from nnray.errors import ConfigError, Problem, suggestion

_KEYS: Mapping[str, tuple[str, ...]] = {"mean": ("weights",), "vote": (), "stack": ("classes",)}


class Ensemble(nn.Module):
    """The members of an ensemble and the rule that combines them.

    Args:
        members: Each takes the same plain inputs and gives logits of the same classes.
        combine: The rule as plain JSON: ``{"name": "mean"}``, with ``weights`` where members count
            differently; ``{"name": "vote"}``; or ``{"name": "stack", "classes": K}``, whose weights are
            part of the state dict.

    Shape:
        inputs: As a member takes them.
        outputs: ``[B, K]`` log-probabilities.

    Raises:
        ConfigError: No members, or no such rule.
    """

    def __init__(self, members: Sequence[nn.Module], combine: Mapping[str, Any]) -> None:
        super().__init__()
        _require_known(len(members), combine)
        self.members = nn.ModuleList(members)
        self.combine = _rule(len(members), combine)

    def log_probabilities(self, inputs: Tensor) -> Tensor:
        """What each member says, ``[M, B, K]``."""
        return torch.stack([member(inputs).float().log_softmax(1) for member in self.members])

    def forward(self, inputs: Tensor) -> Tensor:
        """Ask every member, and combine what they say."""
        outputs: Tensor = self.combine(self.log_probabilities(inputs))
        return outputs


class Mean(nn.Module):
    """The mean of the members' probabilities.

    Args:
        weights: What each member counts, above 0; they are divided by their sum.
    """

    log_weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        share_M = torch.tensor(weights, dtype=torch.float64)
        log_M = (share_M / share_M.sum()).log().float()
        # Written in the rule already; a second copy among the weights could only disagree with it.
        self.register_buffer("log_weights", log_M, persistent=False)

    def forward(self, logp_MBK: Tensor) -> Tensor:
        """Take the mean without leaving logarithms, so that no small probability is lost."""
        return (logp_MBK + self.log_weights[:, None, None]).logsumexp(0)


class Vote(nn.Module):
    """The class that most members name; among equals, the one of the highest mean probability.

    The probability of a class is its share of M + 1 votes, the last of which the mean of the members'
    probabilities splits: it breaks ties, never outweighs a vote, and leaves no class with a probability of 0.
    Gradients see that mean alone, for votes have none.
    """

    def forward(self, logp_MBK: Tensor) -> Tensor:
        """Count the votes."""
        num_members, _, num_classes = logp_MBK.shape
        votes_BK = one_hot(logp_MBK.argmax(2), num_classes).sum(0).to(logp_MBK.dtype)
        mean_BK = logp_MBK.logsumexp(0) - _log(num_members, logp_MBK)
        return torch.logaddexp(votes_BK.log(), mean_BK) - _log(num_members + 1, logp_MBK)


class Stack(nn.Module):
    """Multinomial logistic regression on the members' log-probabilities.

    Args:
        num_members: How many there are.
        num_classes: Of the data.

    Source:
        Wolpert, 1992; Breiman, 1996. It begins as the geometric mean of the members.
    """

    def __init__(self, num_members: int, num_classes: int) -> None:
        super().__init__()
        identity = torch.eye(num_classes).repeat(1, num_members) / num_members
        self.weight = nn.Parameter(identity)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, logp_MBK: Tensor) -> Tensor:
        """Apply the regression."""
        logits_BK = features(logp_MBK) @ self.weight.T + self.bias
        return logits_BK.log_softmax(1)


def features(logp_MBK: Tensor) -> Tensor:
    """What a stack regresses on: the members' log-probabilities side by side, ``[B, M * K]``.

    They are cut at -30, about a chance of 1e-13: what lies below says no more, and would outweigh the rest.
    """
    return logp_MBK.clamp_min(-30.0).permute(1, 0, 2).flatten(1)


def _log(number: int, like: Tensor) -> Tensor:
    return like.new_tensor(float(number)).log()


def _rule(num_members: int, combine: Mapping[str, Any]) -> nn.Module:
    if combine["name"] == "mean":
        return Mean(combine.get("weights") or [1.0] * num_members)
    return Vote() if combine["name"] == "vote" else Stack(num_members, int(combine["classes"]))


def _require_known(num_members: int, combine: Mapping[str, Any]) -> None:
    name = combine.get("name")
    problems = [] if num_members else [Problem("members", "there are none: name one or more")]
    if name not in _KEYS:
        problems.append(Problem("combine.name", f"unknown rule {name!r}; {suggestion(str(name), _KEYS)}"))
    else:
        problems += _wrong_values(num_members, combine)
    if problems:
        raise ConfigError("ensemble", problems)


def _wrong_values(num_members: int, combine: Mapping[str, Any]) -> list[Problem]:
    name = combine["name"]
    unknown = sorted(set(combine) - {"name", *_KEYS[name]})
    found = [Problem(f"combine.{key}", f"{name} takes no {key!r}; leave it out") for key in unknown]
    weights = combine.get("weights")
    if weights is not None and (len(weights) != num_members or not all(value > 0 for value in weights)):
        message = f"got {list(weights)} for {num_members} members: give each one weight above 0"
        found.append(Problem("combine.weights", message))
    classes = combine.get("classes", 0)
    if name == "stack" and not (isinstance(classes, int) and classes >= 2):
        found.append(
            Problem("combine.classes", f"got {classes!r}: a stack needs the number of classes, 2 or more")
        )
    return found
