"""Robust accuracy: the share of examples that no attack makes wrong, over how far it may go.

An example that is wrong at one epsilon is wrong at every larger one, because the same input lies within that
bound too: so the larger bounds are tried on what has withstood the smaller ones, and no curve rises. The
share at epsilon 0 is the clean accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnray.errors import DataError
from nnray.evaluation.evaluate import evaluation_mode
from nnray.robustness.attack import Attack, is_wrong
from nnray.robustness.space import Norm, Space, exact_norms
from nnray.seeding import torch_rng

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Example:
    """An input that an attack has made wrong.

    Args:
        index: Among those attacked.
        epsilon: The smallest bound at which it was.
        clean: As it was.
        moved: As it became.
        target: Its label.
        said: What the model says of it now.
    """

    index: int
    epsilon: float
    clean: Tensor
    moved: Tensor
    target: int
    said: int


@dataclass(frozen=True, slots=True)
class Robustness:
    """What an attack came to.

    Args:
        epsilons: Bounds that were tried, from 0 upwards.
        broken_at: For each example, the smallest bound that misled the model; infinite for none.
        norm: By which moves are measured.
        distances: For an attack that looks for the smallest move: its size by example, infinite where none
            was found; None for other attacks.
        examples: Some that were made wrong.
    """

    epsilons: tuple[float, ...]
    broken_at: Tensor
    norm: Norm
    distances: Tensor | None = None
    examples: tuple[Example, ...] = ()

    @property
    def num_examples(self) -> int:
        """How many were attacked."""
        return len(self.broken_at)

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The share that withstood, for each epsilon."""
        return tuple(float((self.broken_at > epsilon).double().mean()) for epsilon in self.epsilons)

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """95 % intervals of the accuracies, as of a sample (Wilson 1927)."""
        return tuple(_wilson(share, self.num_examples) for share in self.accuracies)

    @property
    def median_distance(self) -> float | None:
        """Of the smallest moves that mislead; infinite where most examples have none."""
        if self.distances is None:
            return None
        return float(self.distances.sort().values[(len(self.distances) - 1) // 2])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        median = self.median_distance
        return {
            "norm": self.norm,
            "num_examples": self.num_examples,
            "epsilons": list(self.epsilons),
            "accuracies": list(self.accuracies),
            "intervals": [list(interval) for interval in self.intervals],
            "median_distance": median if median is None or math.isfinite(median) else None,
        }


def attack_all(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    attack: Attack,
    epsilons: Sequence[float],
    space: Space,
    seed: int,
    keep: int = 0,
) -> Robustness:
    """Attack every example with growing bounds.

    Args:
        model: Left as it was.
        batches: Inputs and labels.
        attack: The attack.
        epsilons: Bounds to try, in any order; 0 is always among them.
        space: The units and the box of inputs.
        seed: Each batch and bound draws from ``(seed, "attack", batch, place of the bound)``.
        keep: How many examples to keep for show.

    Raises:
        DataError: There are no examples, or the model's outputs for them are not finite.
    """
    bounds = tuple(sorted({0.0, *epsilons}))
    broken: list[Tensor] = []
    distances: list[Tensor] = []
    shown: list[Example] = []
    with evaluation_mode(model):
        for number, (inputs, targets) in enumerate(batches):
            search = _Search(model, attack, bounds, space, seed, number)
            found = search.minimal(inputs, targets) if attack.is_minimal else search.bounded(inputs, targets)
            begun = sum(len(part) for part in broken)
            shown += _examples(model, inputs, targets, found, begun=begun, most=keep - len(shown))
            broken.append(found.broken_at.cpu())
            distances.append(found.distances.cpu())
    if not sum(len(part) for part in broken):
        raise DataError("there are no examples to attack: the split is empty")
    apart = torch.cat(distances) if attack.is_minimal else None
    return Robustness(bounds, torch.cat(broken), attack.norm, apart, tuple(shown))


def worst_of(parts: Mapping[str, Robustness]) -> Robustness | None:
    """The attacks of one norm together: an example counts where it withstood all; None for no such norm."""
    first = next(iter(parts.values()))
    if any((one.norm, one.epsilons) != (first.norm, first.epsilons) for one in parts.values()):
        return None
    broken = torch.stack([one.broken_at for one in parts.values()]).amin(0)
    return Robustness(first.epsilons, broken, first.norm)


@dataclass(slots=True)
class _Found:
    """What a batch came to; ``moved`` are the inputs that misled, or the last that were tried."""

    broken_at: Tensor
    distances: Tensor
    moved: Tensor


@dataclass(frozen=True, slots=True)
class _Search:
    """An attack on one batch."""

    model: nn.Module
    attack: Attack
    epsilons: tuple[float, ...]
    space: Space
    seed: int
    number: int

    def bounded(self, inputs: Tensor, targets: Tensor) -> _Found:
        """Try each bound on what has withstood those before."""
        found = self._clean(inputs, targets)
        for place, epsilon in enumerate(self.epsilons[1:], start=1):
            left = (found.broken_at == torch.inf).nonzero()[:, 0]
            if not len(left):
                break
            moved = self._moved(inputs[left], targets[left], epsilon, place)
            wrong = is_wrong(_outputs(self.model, moved), targets[left])
            found.broken_at[left[wrong]] = epsilon
            found.moved[left] = moved
        return found

    def minimal(self, inputs: Tensor, targets: Tensor) -> _Found:
        """One search without a bound, whose moves are measured."""
        found = self._clean(inputs, targets)
        left = (found.broken_at == torch.inf).nonzero()[:, 0]
        found.distances[found.broken_at == 0] = 0
        if not len(left):
            return found
        moved = self._moved(inputs[left], targets[left], math.inf, 0)
        wrong = is_wrong(_outputs(self.model, moved), targets[left])
        apart = exact_norms(inputs[left], moved, norm=self.attack.norm, space=self.space).float()
        found.distances[left[wrong]] = apart[wrong]
        found.moved[left] = moved
        for epsilon in reversed(self.epsilons[1:]):
            within = wrong & (apart <= epsilon)
            found.broken_at[left[within]] = epsilon
        return found

    def _moved(self, inputs: Tensor, targets: Tensor, epsilon: float, place: int) -> Tensor:
        rng = torch_rng(self.seed, "attack", self.number, place)
        return self.attack(self.model, inputs, targets, epsilon=epsilon, space=self.space, rng=rng)

    def _clean(self, inputs: Tensor, targets: Tensor) -> _Found:
        outputs = _outputs(self.model, inputs)
        bad = int((~outputs.isfinite().all(1)).sum())
        if bad:
            raise DataError(
                f"the model's outputs are not finite for {bad} of {len(inputs)} examples as they are: "
                "nothing can be said of its robustness; train it with a lower optimizer.lr"
            )
        broken = torch.full((len(inputs),), torch.inf, device=inputs.device)
        broken[is_wrong(outputs, targets)] = 0
        return _Found(broken, torch.full_like(broken, torch.inf), inputs.clone())


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(inputs)
    return outputs


def _examples(
    model: nn.Module, inputs: Tensor, targets: Tensor, found: _Found, *, begun: int, most: int
) -> list[Example]:
    """The first examples of a batch that were right and are wrong now."""
    misled = ((found.broken_at > 0) & (found.broken_at < torch.inf)).nonzero()[:, 0][: max(most, 0)]
    if not len(misled):
        return []
    said = _outputs(model, found.moved[misled]).argmax(1)
    return [
        Example(
            begun + int(place),
            float(found.broken_at[place]),
            inputs[place].cpu(),
            found.moved[place].cpu(),
            int(targets[place]),
            int(now),
        )
        for place, now in zip(misled, said, strict=True)
    ]


def _wilson(share: float, count: int) -> tuple[float, float]:
    spread = _Z95**2 / count
    middle = (share + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
