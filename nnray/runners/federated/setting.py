"""A federated experiment made ready: what every worker of it needs, whichever process it is in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.assembly import build_loss, build_model, build_task, build_turns
from nnray.assembly.transfer import begin
from nnray.config import Experiment, FederatedConfig, require_federated
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import ConfigError, Problem
from nnray.federated.attacks.attack import stamped
from nnray.federated.client import ClientTrainer
from nnray.federated.holdings import Alter
from nnray.federated.local import LocalTraining, steps_in_round
from nnray.federated.noise import add_noise
from nnray.federated.partitions.partition import Partition, as_partition, everything
from nnray.federated.strategy import Strategy, Traits, traits
from nnray.federated.weights import FlatModel, Slot, Weights
from nnray.privacy.example.local import LocalSteps
from nnray.privacy.example.probe import require_own, require_separate
from nnray.registry import build
from nnray.runners.federated.due import require_due
from nnray.runners.federated.guarantee import Guarantee, guarantee_of
from nnray.runners.federated.held import held_out
from nnray.runners.federated.pooled import pooled
from nnray.runners.federated.private_clients import (
    LocalGuarantee,
    dp_sgd,
    local_guarantee,
    require_private,
)
from nnray.runners.federated.wrapping import altered, attack_of, wrapped
from nnray.seeding import numpy_rng
from nnray.training.device import find_device
from nnray.training.startup import spare_compiler_import, unwrap_step


@dataclass(frozen=True, slots=True)
class Setting:
    """What is trained, on what, and who has it.

    Args:
        experiment: With a ``federated`` section.
        info: Of the data, its statistics those of the clients' examples.
        train: All clients' examples.
        partition: Who has which, as it was shared out.
        population: Who trains on which: without what is held out; one client of all where data are pooled.
        held: What each client is evaluated on; None for nothing.
        splits: Examples that the server evaluates on, by name: ``val``, ``test``.
        steps: Steps of each client; None for what the experiment says.
        stacked: Whether clients whose steps are alike train side by side.
        guarantee: What is promised to each client; None for nothing.
        local_guarantee: What is promised to each example; None for nothing.
    """

    experiment: Experiment
    info: DataInfo
    train: Examples
    partition: Partition
    population: Partition
    held: Partition | None
    splits: dict[str, Examples]
    steps: int | None
    stacked: bool = False
    guarantee: Guarantee | None = None
    local_guarantee: LocalGuarantee | None = None

    @property
    def federated(self) -> FederatedConfig:
        """The section of the experiment."""
        assert self.experiment.federated is not None, "checked where the setting was made"
        return self.experiment.federated


def make_setting(experiment: Experiment, splits: DataSplits, *, tests: bool = True) -> Setting:
    """Share the examples out among clients, and look at what that makes possible.

    Args:
        experiment: With a ``federated`` section.
        splits: Its data.
        tests: Whether the test split is evaluated on as rounds go by: not where a sweep chooses.

    Raises:
        ConfigError: The data can't be shared out like that, or the cohort is larger than all clients.
        DataError: Likewise.
    """
    federated, train = require_federated(experiment), _resident(splits)
    partition = share_out(experiment, splits)
    federated.cohort_of(len(partition))
    population, held = held_out(experiment, partition, info=splits.info)
    info, steps = pooled(splits.info, train, population=population), None
    if (pooling := traits(said := make_strategy(experiment))).pooled:
        if partition.noise is not None:
            message = "has no client whose noise an example could have: take another partition"
            raise ConfigError(experiment.name, [Problem("federated.strategy", message)])
        steps = _pooled_steps(experiment, population, pooling)
        population = everything(population)
    measured = {"val": splits.val, "test": splits.test() if tests and splits.test else None}
    found = {name: part for name, part in measured.items() if isinstance(part, Examples)}
    guarantee = guarantee_of(experiment, num_clients=len(population))
    setting = Setting(experiment, info, train, partition, population, held, found, steps, guarantee=guarantee)
    if any(turn.every > 1 for turn in build_turns(experiment, build_task(experiment, info))):
        flat, largest = build_flat(setting), int(population.sizes.max())
        require_due(experiment, said, local=local_training(setting, traits(said)), flat=flat, largest=largest)
    return _with_backdoor(with_private_examples(setting))


def with_private_examples(setting: Setting, *, sizes: NDArray[np.int64] | None = None) -> Setting:
    """With what is promised to each example, where an experiment asks for it; the model is tried first.

    Args:
        setting: Of the run.
        sizes: Examples of each client, where the setting doesn't know them of all.

    Raises:
        ConfigError: The strategy or the task can't keep to it, or the budget doesn't last for one round.
        IncompatibleModel: The model mixes examples.
    """
    experiment, info = setting.experiment, setting.info
    if experiment.privacy is None or experiment.privacy.unit != "example":
        return setting
    flat = build_flat(setting)
    strategy = make_strategy(experiment, slots=flat.slots)
    local = local_training(setting, traits(strategy))
    require_private(setting.federated.strategy.name, strategy, local=local, params=flat.params)
    require_own([(p.name, a) for p, a in zip(experiment.data.augment, local.augment, strict=True)], info)
    require_separate(flat.module, build_task(experiment, info), info=info)
    size = local.batch_size
    local = replace(local, private=dp_sgd(experiment, info, batch_size=size, noise_multiplier=1.0))
    sizes = setting.population.sizes if sizes is None else sizes
    counts = {
        each: steps_in_round(strategy, local, params=flat.params, num_examples=each)
        for each in np.unique(sizes[sizes > 0]).tolist()
    }
    found = local_guarantee(experiment, sizes=sizes, steps=LocalSteps(size, counts))
    return replace(setting, local_guarantee=found)


def _with_backdoor(setting: Setting) -> Setting:
    """With test examples that carry the mark of a backdoor: accuracy on them is its success rate."""
    attack, tests = attack_of(setting), setting.splits.get("test")
    if attack is None or attack.trigger is None or tests is None:
        return setting
    return replace(setting, splits={**setting.splits, "backdoor": stamped(tests, attack)})


def share_out(experiment: Experiment, splits: DataSplits) -> Partition:
    """Which training examples each client has.

    Raises:
        DataError: It is not possible.
    """
    federated, train = require_federated(experiment), _resident(splits)
    if federated.sites:
        raise ConfigError(
            experiment.name, [Problem("federated.sites", "share nothing out: run nnray federate")]
        )
    component = federated.partition
    rng = numpy_rng(experiment.seed, "partition")
    made = build("partition", component, train.labels.numpy(), federated.clients, rng, groups=splits.groups)
    return as_partition(made, num_examples=len(train), name=component.name)


def strategy_of(setting: Setting) -> Strategy:
    """The strategy, told the model's parameters.

    Raises:
        ConfigError: It can't be used with them, or with the clients' optimizer.
    """
    flat = build_flat(setting)
    strategy = make_strategy(setting.experiment, slots=flat.slots)
    return wrapped(strategy, setting, slots=flat.slots, size=len(flat.params))


def make_strategy(experiment: Experiment, *, slots: Sequence[Slot] = ()) -> Strategy:
    """The strategy, with the server's optimizer where there is one.

    Args:
        experiment: With a ``federated`` section.
        slots: The model's parameters; none where nothing is trained.

    Raises:
        ConfigError: Its equations don't hold for the clients' optimizer.
    """
    federated = require_federated(experiment)
    server = federated.server_optimizer
    make_server = None if server is None else functools.partial(build, "optimizer", server)
    strategy: Strategy = build("strategy", federated.strategy, server_optimizer=make_server, slots=slots)
    if traits(strategy).needs_sgd and not _is_plain_sgd(experiment):
        name = federated.strategy.name
        message = f"{name!r} holds for clients that use SGD without Nesterov: take optimizer: {{name: sgd}}"
        raise ConfigError("this experiment", [Problem("federated.strategy", message)])
    return strategy


def make_trainer(
    setting: Setting, strategy: Strategy, *, on_client: Callable[[int], None] = lambda client: None
) -> ClientTrainer:
    """What trains the setting's clients in this process."""
    experiment = setting.experiment
    device = find_device(experiment.training.device)
    return ClientTrainer(
        _laid_out(experiment, build_model(experiment, setting.info).to(device)),
        strategy,
        examples=setting.train,
        population=setting.population,
        local=local_training(setting, traits(strategy)),
        alter=altered(setting, _noise(setting)),
        on_client=on_client,
    )


def build_flat(setting: Setting) -> FlatModel:
    """The model with the weights that a run begins with, on the CPU."""
    return FlatModel(_laid_out(setting.experiment, build_model(setting.experiment, setting.info)))


def first_weights(setting: Setting) -> Weights:
    """Those that a run begins with; no worker is needed for them."""
    model = begin(build_model(setting.experiment, setting.info), setting.experiment)
    return FlatModel(_laid_out(setting.experiment, model)).weights()


def module_of(setting: Setting, weights: Weights) -> nn.Module:
    """The model with weights, on the CPU, for evaluation."""
    flat = build_flat(setting)
    flat.load(weights)
    alone = build_model(setting.experiment, setting.info)  # whose tensors share no memory
    alone.load_state_dict(flat.module.state_dict())
    return alone.eval()


def client_lrs(setting: Setting) -> tuple[float, ...]:
    """Learning rate of the clients' steps in each round: the schedule takes a step a round.

    Raises:
        ConfigError: The schedule goes by a loss that rounds don't tell it.
    """
    experiment, rounds = setting.experiment, setting.federated.rounds
    if experiment.schedule.name == "plateau":
        message = (
            "'plateau' waits for a loss, and rounds tell it none: take constant, step, cosine or one_cycle"
        )
        raise ConfigError(experiment.name, [Problem("schedule", message)])
    optimizer = build("optimizer", experiment.optimizer, build_flat(setting).parameters)
    schedule = build("schedule", experiment.schedule, optimizer, num_steps=rounds, steps_per_epoch=1)
    lrs = []
    for _ in range(rounds):
        lrs.append(float(schedule.lr))
        schedule.step()
    return tuple(lrs)


def _resident(splits: DataSplits) -> Examples:
    if isinstance(splits.train, Examples):
        return splits.train
    message = "clients' examples are held in memory: leave data.stream out to federate"
    raise ConfigError("this experiment", [Problem("data.stream", message)])


def _is_plain_sgd(experiment: Experiment) -> bool:
    optimizer = experiment.optimizer
    return optimizer.name == "sgd" and not optimizer.kwargs.get("nesterov", False)


def local_training(setting: Setting, said: Traits) -> LocalTraining:
    """How each client trains."""
    experiment, federated = setting.experiment, setting.federated
    training = experiment.training
    task, promised = build_task(experiment, setting.info), setting.local_guarantee
    size, private = None if said.full_batch else batch_size(experiment), None
    if promised is not None:
        noise = promised.noise_multiplier
        private = dp_sgd(experiment, setting.info, batch_size=size, noise_multiplier=noise)
    return LocalTraining(
        loss_fn=build_loss(experiment, task, info=setting.info),
        make_optimizer=functools.partial(make_optimizer, experiment),
        batch_size=size,
        epochs=federated.local_epochs or 1,
        steps=said.local_steps or setting.steps or federated.local_steps,
        momentum=float(experiment.optimizer.kwargs.get("momentum", 0.0)),
        augment=tuple(build("augmentation", part, setting.info) for part in experiment.data.augment),
        l1=training.l1,
        max_grad_norm=training.max_grad_norm,
        by_pixel=training.channels_last,
        seed=experiment.seed,
        private=private,
        turns=build_turns(experiment, task),
    )


def _laid_out(experiment: Experiment, model: nn.Module) -> nn.Module:
    """The model as its images are laid out; the flat vectors follow it."""
    return model.to(memory_format=torch.channels_last) if experiment.training.channels_last else model


def batch_size(experiment: Experiment) -> int | None:
    """Examples of a client's step; None for all that it has."""
    said = require_federated(experiment).batch_size
    return None if said == "all" else said or experiment.training.batch_size


def make_optimizer(experiment: Experiment, params: Sequence[Tensor]) -> Any:
    """The clients' optimizer, without what torch wraps around it."""
    spare_compiler_import()
    optimizer: Any = build("optimizer", experiment.optimizer, list(params))
    for part in getattr(optimizer, "parts", (optimizer,)):
        if type(part).__module__.startswith("torch.optim."):
            unwrap_step(part)
    return optimizer


def _noise(setting: Setting) -> Alter | None:
    noise = setting.population.noise
    if noise is None:
        return None
    std, seed = setting.info.std, setting.experiment.seed

    def alter(
        inputs: Tensor, targets: Tensor, client: int, examples: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        return add_noise(inputs, examples=examples, noise=float(noise[client]), std=std, seed=seed), targets

    return alter


def _pooled_steps(experiment: Experiment, population: Partition, said: Traits) -> int:
    """Steps that a cohort takes in a round, all its clients together, on average."""
    federated = require_federated(experiment)
    cohort = federated.cohort_of(len(population))
    if federated.local_steps is not None:
        return cohort * federated.local_steps
    size = batch_size(experiment)
    passes = np.ones(len(population)) if size is None else np.ceil(population.sizes / size)
    return max(1, round(cohort * (federated.local_epochs or 1) * float(passes.mean())))
