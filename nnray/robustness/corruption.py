"""Common corruptions: how well a network does on images that are noisy, blurred, shifted or badly stored.

An entry of the catalog gives a `Corruption`: a change of images at five levels. Levels are keys, so that they
can be others; those that ship are ours, for images of about 28 to 64 pixels a side. They are not those of
CIFAR-10-C or MNIST-C, and figures are not comparable with theirs.

Source: Hendrycks and Dietterich 2019: the errors, their mean, and both relative to a baseline (section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.evaluation.evaluate import evaluation_mode
from nnray.robustness.attack import is_wrong
from nnray.seeding import torch_rng

SEVERITIES = (1, 2, 3, 4, 5)
Levels = tuple[float, float, float, float, float]
Change = Callable[[Tensor, float, Generator], Tensor]
"""``(images, level, rng) -> images``, float32 from 0 to 1, ``[B, C, H, W]``."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """A change of images at five levels.

    Args:
        change: The change.
        levels: Its strength at severity 1 to 5.
    """

    change: Change
    levels: Levels

    def __call__(self, images: Tensor, severity: int, *, rng: Generator) -> Tensor:
        """The images, corrupted; values stay within 0 to 1.

        Args:
            images: ``[B, C, H, W] float32``, 0 to 1; not changed.
            severity: 1 to 5.
            rng: A CPU generator, which all draws come from.
        """
        assert severity in SEVERITIES
        with torch.no_grad():
            return self.change(images, self.levels[severity - 1], rng).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Errors on corrupted images.

    Args:
        clean: The share of images as they are that a model gets wrong.
        errors: For each corruption, the share at severity 1 to 5.
    """

    clean: float
    errors: Mapping[str, tuple[float, ...]]

    @property
    def mean_error(self) -> float:
        """The mean error over corruptions and severities."""
        return _mean(_mean(errors) for errors in self.errors.values())

    def relative_to(self, baseline: Corrupted) -> tuple[float | None, float | None]:
        """The mean corruption error (mCE) and the relative one, as shares of a baseline's.

        The second compares what errors rise by over those on clean images. None where the baseline has no
        error, or none that rises, to divide by.

        Args:
            baseline: Of another model, on the same images and corruptions.
        """
        assert set(baseline.errors) == set(self.errors)
        plain = [(sum(own), sum(baseline.errors[name])) for name, own in self.errors.items()]
        risen = [
            (
                sum(error - self.clean for error in own),
                sum(error - baseline.clean for error in baseline.errors[name]),
            )
            for name, own in self.errors.items()
        ]
        return _mean_ratio(plain), _mean_ratio(risen)


def require_images(info: DataInfo) -> None:
    """Refuse inputs that have no pixels.

    Raises:
        DataError: The inputs are vectors.
    """
    if len(info.input_shape) != 3:
        raise DataError(
            f"corruptions are of images, the inputs of data set {info.name} have shape "
            f"{list(info.input_shape)}: attack it instead"
        )


def corrupt_all(
    model: nn.Module,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    *,
    corruptions: Mapping[str, Corruption],
    seed: int,
) -> Corrupted:
    """Measure a model on images, clean and corrupted.

    Args:
        model: Left as it was.
        batches: Gives all images and labels, anew each time.
        corruptions: By name.
        seed: Each batch draws from ``(seed, "corruption", name, severity, batch)``.

    Raises:
        DataError: There are no images.
    """

    def errors_of(name: str, corruption: Corruption) -> tuple[float, ...]:
        def at(severity: int) -> float:
            def change(images: Tensor, number: int) -> Tensor:
                rng = torch_rng(seed, "corruption", name, severity, number)
                return corruption(images, severity, rng=rng)

            return _error(model, batches(), change=change)

        return tuple(at(severity) for severity in SEVERITIES)

    with evaluation_mode(model):
        clean = _error(model, batches(), change=lambda images, number: images)
        return Corrupted(clean, {name: errors_of(name, one) for name, one in corruptions.items()})


def _error(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    change: Callable[[Tensor, int], Tensor],
) -> float:
    wrong, count = 0, 0
    with torch.no_grad():
        for number, (images, targets) in enumerate(batches):
            wrong += int(is_wrong(model(change(images, number)), targets).sum())
            count += len(targets)
    if not count:
        raise DataError("there are no images to corrupt: the split is empty")
    return wrong / count


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _mean_ratio(pairs: list[tuple[float, float]]) -> float | None:
    if any(below <= 0 for _, below in pairs):
        return None
    return _mean(above / below for above, below in pairs)
