"""Whether clients train side by side, and in which blocks: decided by the experiment, never by a clock.

A timing would make the bits of a run depend on how busy a machine was; what a round costs either way was
measured once (``benchmarks/federated.py``, jobs/LOG.md), and ``auto`` goes by sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from nnray.assembly import build_task, is_plain
from nnray.errors import ConfigError, IncompatibleModel, Problem
from nnray.federated.client import ClientTrainer
from nnray.federated.side_by_side import BlockTrainer, blocks_of
from nnray.federated.stacked import StackedTrainer
from nnray.federated.stacked_checks import is_linear
from nnray.federated.stacked_losses import can_fill
from nnray.federated.strategy import Strategy, traits
from nnray.federated.weights import FlatModel
from nnray.runners.federated.setting import (
    Setting,
    build_flat,
    local_training,
    make_optimizer,
    make_strategy,
    strategy_of,
)
from nnray.training.startup import unwrap_step

_TINY = 1 << 14
"""Parameters of a model that costs less to compute than to call."""
_FEW_ROWS = 64
"""Examples that a client sees in a round, up to which factors are smaller than the weights."""
_MANY = 8
"""Clients of a round from which sharing calls pays."""


def decide(setting: Setting) -> Setting:
    """Say whether clients train side by side.

    Raises:
        ConfigError: ``federated.stacked`` is true, and something else asked for rules it out.
        IncompatibleModel: Likewise, the model or the optimizer does.
    """
    wanted = setting.federated.stacked
    if wanted is False:
        return setting
    strategy = strategy_of(setting)
    reasons = list(_ruled_out(setting, strategy))
    if wanted == "auto":
        return replace(setting, stacked=not reasons and _pays(setting, strategy))
    if reasons:
        problems = [Problem("federated.stacked", f"true is not possible with {reason}") for reason in reasons]
        raise ConfigError(setting.experiment.name, problems)
    _stacked_trainer(setting, build_flat(setting))
    return replace(setting, stacked=True)


class Cutter:
    """Cuts clients into the blocks that they train in: each by itself, where not side by side.

    Args:
        setting: Of the run.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        if setting.stacked:
            self._local = local_training(setting, traits(make_strategy(setting.experiment)))
            flat = build_flat(setting)
            self._num_params = flat.params.numel()
            task = build_task(setting.experiment, setting.info)
            self._fills = can_fill(task) and is_linear(flat, setting.train)

    def __call__(self, clients: Sequence[int]) -> list[tuple[int, ...]]:
        """Blocks by their first client."""
        setting = self._setting
        if not setting.stacked:
            return [(int(client),) for client in clients]
        return blocks_of(
            [int(client) for client in clients],
            setting.population,
            local=self._local,
            num_params=self._num_params,
            cohort=setting.federated.cohort_of(len(setting.partition)),
            fills=self._fills,
        )


def make_block_trainer(setting: Setting, strategy: Strategy, *, trainer: ClientTrainer) -> BlockTrainer:
    """What trains blocks of the setting's clients in this process."""
    optimizers = _Optimizers(setting)
    return BlockTrainer(
        trainer,
        StackedTrainer(
            trainer.flat,
            setting.train,
            task=build_task(setting.experiment, setting.info),
            make_optimizer=optimizers,
        ),
        strategy=strategy,
        population=setting.population,
        local=local_training(setting, traits(strategy)),
        set_lr=optimizers.set_lr,
    )


class _Optimizers:
    """Makes optimizers of one learning rate, which a round sets."""

    def __init__(self, setting: Setting) -> None:
        self._experiment = setting.experiment
        self._lr: float | None = None
        self._first: Any = None

    def set_lr(self, lr: float | None) -> None:
        self._lr = lr

    def __call__(self, params: Sequence[Tensor]) -> Any:
        if self._first is None:
            self._first = make_optimizer(self._experiment, params)
        # Checking the experiment's keys again for every block would cost more than a step.
        optimizer = type(self._first)(list(params), **self._first.defaults)
        unwrap_step(optimizer)
        for group in optimizer.param_groups if self._lr is not None else ():
            group["lr"] = self._lr
        return optimizer


def _ruled_out(setting: Setting, strategy: Strategy) -> Iterator[str]:
    training, said = setting.experiment.training, traits(strategy)
    found = {
        "data.augment": bool(setting.experiment.data.augment),
        "loss": not is_plain(setting.experiment),
        "training.channels_last": training.channels_last,
        "training.l1": bool(training.l1),
        "training.max_grad_norm": training.max_grad_norm is not None,
        "federated.deadline_s": setting.federated.deadline_s is not None,
        "federated.secure": setting.federated.secure is not None,
        "federated.attack": setting.federated.attack is not None,
        "privacy.unit: example": _private_examples(setting),
        "a partition with noise": setting.population.noise is not None,
        "a strategy that measures clients before they train": strategy.needs_start_loss,
        "a strategy in which clients have weights of their own": said.is_personal,
        "a strategy whose clients train in stages": said.is_staged,
        "a strategy that pools all examples": said.pooled,
    }
    yield from (reason for reason, applies in found.items() if applies)


def _private_examples(setting: Setting) -> bool:
    privacy = setting.experiment.privacy
    return privacy is not None and privacy.unit == "example"


def _pays(setting: Setting, strategy: Strategy) -> bool:
    if setting.federated.cohort_of(len(setting.partition)) < _MANY:
        return False
    flat = build_flat(setting)
    if not is_linear(flat, setting.train):
        return False
    local, sizes = local_training(setting, traits(strategy)), setting.population.sizes
    rows = sum(local.sizes(round(float(sizes.mean()))))
    if flat.params.numel() > _TINY and rows > _FEW_ROWS:
        return False
    try:
        _stacked_trainer(setting, flat)
    except IncompatibleModel:
        return False
    return True


def _stacked_trainer(setting: Setting, flat: FlatModel) -> StackedTrainer:
    task = build_task(setting.experiment, setting.info)
    return StackedTrainer(flat, setting.train, task=task, make_optimizer=_Optimizers(setting))
