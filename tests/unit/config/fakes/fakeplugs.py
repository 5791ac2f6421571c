"""A small plug-in of every kind, read from source by the tests and never imported by them."""

from __future__ import annotations

from typing import Any, Literal

from nnray.fields import NonNegative, Positive, PositiveInt, Probability

Norm = Literal["none", "batch", "group"]
WIDTHS = (64, 32)


def tiny(*, root: str | None, seed: int, classes: PositiveInt = 10) -> Any:
    """A tiny data set.

    Args:
        classes: How many classes.
    """
    return {"root": root, "seed": seed, "classes": classes}


def flip(info: Any, *, p: Probability = 0.5) -> Any:
    """Flip images."""
    return info, p


def mlp(
    info: Any, *, hidden: list[PositiveInt] = WIDTHS, dropout: Probability = 0.0, norm: Norm = "none"
) -> Any:
    """A multilayer perceptron.

    Args:
        hidden: Units of each hidden layer,
            from the input on.
        dropout: Share of units silenced.
    """
    return info, hidden, dropout, norm


def cnn(info: Any, *, channels: tuple[PositiveInt, ...] = (32, 64), dropout: Probability = 0.5) -> Any:
    """A convolutional network."""
    return info, channels, dropout


def named(info: Any, *, arch: str, pretrained: bool = False) -> Any:
    """A network by the name of its architecture."""
    return info, arch, pretrained


def plain(task):
    """The task's own."""


def classification(info: Any, *, label_smoothing: Probability = 0.0) -> Any:
    """Classes."""
    return info, label_smoothing


def adam(params: Any, *, lr: Positive = 1e-3, weight_decay: NonNegative = 0.0, amsgrad: bool = False) -> Any:
    """Adam."""
    return params, lr, weight_decay, amsgrad


def sgd(params: Any, *, lr: Positive = 0.01, momentum: Probability = 0.0) -> Any:
    """Stochastic gradient descent."""
    return params, lr, momentum


def constant(optimizer: Any, *, num_steps: int, warmup: NonNegative = 0.0) -> Any:
    """Always the same."""
    return optimizer, num_steps, warmup


def tpe(metric: str, mode: str, seed: int, *, startup: PositiveInt = 10) -> Any:
    """Tree of Parzen estimators."""
    return metric, mode, seed, startup


def asha(metric: str, mode: str, seed: int, *, factor: PositiveInt = 4) -> Any:
    """Successive halving."""
    return metric, mode, seed, factor


def iid(labels: Any, num_clients: int, rng: Any, *, min_size: PositiveInt = 1) -> Any:
    """Clients alike."""
    return labels, num_clients, rng, min_size


def natural(labels: Any, num_clients: int, rng: Any, *, groups: Any) -> Any:
    """A client for each writer."""
    return labels, num_clients, rng, groups


def uniform(num_clients: int, rng: Any, *, cohort: int, spare: int = 0) -> Any:
    """Exactly the cohort."""
    return num_clients, rng, cohort, spare


def poisson(num_clients: int, rng: Any, *, cohort: int) -> Any:
    """Each client by chance."""
    return num_clients, rng, cohort


def fedavg(*, weighting: Literal["examples", "uniform"] = "examples") -> Any:
    """The mean of what clients have learnt."""
    return weighting


def fedopt(*, server_optimizer: Any, tau: Positive = 1e-3) -> Any:
    """An optimizer on the server."""
    return server_optimizer, tau


def median() -> object:
    """The middle of what clients send."""
    return object()


def sign_flip(info: object, *, factor: float = 1.0) -> object:
    """The opposite of what was learnt.

    Args:
        factor: So many times.
    """
    return object()


def top_k(*, share: float = 0.1) -> object:
    """The largest entries.

    Args:
        share: Of all.
    """
    return object()


def lognormal(num_clients: int, rng: object, *, sigma: float = 1.0) -> object:
    """A few are slow.

    Args:
        sigma: How slow.
    """
    return object()
