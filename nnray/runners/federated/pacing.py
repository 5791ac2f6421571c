"""Which rounds a run goes through: of cohorts, of devices in virtual time, or without cohorts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from nnray.errors import ConfigError
from nnray.federated.rounds import Policy, RoundReport, RoundState, TrainClients, rounds
from nnray.federated.sampling import Cohort, with_client
from nnray.federated.strategy import Strategy, traits
from nnray.federated.virtual.asynchronous import async_problems, async_rounds
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.synchronous import timed_rounds
from nnray.registry import bind, build
from nnray.runners.federated.masking import summable
from nnray.runners.federated.setting import Setting, local_training
from nnray.runners.federated.wrapping import aggregator_of
from nnray.seeding import numpy_rng


class Sampling:
    """Draws the cohorts of a run.

    Args:
        setting: Of the run.
    """

    def __init__(self, setting: Setting) -> None:
        self._federated, self._seed = setting.federated, setting.experiment.seed
        self._num_clients = len(setting.population)
        self._sample = bind("sampler", setting.federated.sampler)
        rule = aggregator_of(setting)
        self._root = None if rule is None else rule.root

    def __call__(self, number: int) -> Cohort:
        """The cohort of a round; the client that a rule trusts is always in it."""
        clients = self._num_clients
        drawn: Cohort = self._sample(
            clients,
            numpy_rng(self._seed, "cohort", number),
            cohort=1 if clients == 1 else self._federated.cohort_of(clients),
            round=number,
            spare=self._federated.over_select,
        )
        if self._federated.secure is not None:
            drawn = summable(drawn)
        return drawn if self._root is None else with_client(drawn, self._root)


def paced(
    setting: Setting,
    strategy: Strategy,
    *,
    state: RoundState,
    train_clients: TrainClients,
    lrs: Sequence[float],
) -> Iterator[RoundReport]:
    """The rounds of a run, from a state on.

    Args:
        setting: Of the run.
        strategy: With all that is around it.
        state: Where to begin.
        train_clients: Who trains.
        lrs: Learning rate of the clients in each round.
    """
    if setting.federated.devices is not None:
        return _timed(setting, strategy, state=state, train_clients=train_clients, lr_of=_lr_of(lrs))
    return rounds(
        state,
        strategy,
        num_rounds=setting.federated.rounds,
        draw=Sampling(setting),
        train_clients=train_clients,
        population=len(setting.population),
        policy=policy_of(setting),
        lr_of=_lr_of(lrs),
    )


def policy_of(setting: Setting) -> Policy:
    """What becomes of clients that fail; a rule needs as many updates as it was made for."""
    federated, rule = setting.federated, aggregator_of(setting)
    fewest = 1 if rule is None else rule.fewest + (rule.root is not None)
    fewest = fewest if federated.secure is None else max(2, fewest)
    return Policy(federated.on_client_error, max(federated.min_updates, fewest))


def require_pace(setting: Setting, strategy: Strategy) -> None:
    """See that training without cohorts has what it needs.

    Raises:
        ConfigError: It has not.
    """
    found = setting.federated.asynchronous
    if found is None:
        return
    clients = len(setting.population)
    problems = async_problems(
        strategy, num_clients=clients, concurrency=found.concurrency, buffer=found.buffer
    )
    if problems:
        raise ConfigError(setting.experiment.name, problems)


def _timed(
    setting: Setting,
    strategy: Strategy,
    *,
    state: RoundState,
    train_clients: TrainClients,
    lr_of: Callable[[int], float | None],
) -> Iterator[RoundReport]:
    federated, seed, population = setting.federated, setting.experiment.seed, setting.population
    assert federated.devices is not None, "asked for with devices"
    devices: Devices = build("device", federated.devices, len(population), numpy_rng(seed, "devices"))
    local, found = local_training(setting, traits(strategy)), federated.asynchronous

    def num_steps(client: int) -> int:
        return local.num_steps(len(population.of(client)))

    paced_by: Callable[..., Iterator[RoundReport]]
    if found is None:
        paced_by = functools.partial(
            timed_rounds, draw=Sampling(setting), deadline_s=federated.round_deadline_s
        )
    else:
        paced_by = functools.partial(
            async_rounds,
            concurrency=found.concurrency,
            buffer=found.buffer,
            max_staleness=found.max_staleness,
        )
    return paced_by(
        state,
        strategy,
        num_rounds=federated.rounds,
        train_clients=train_clients,
        devices=devices,
        num_steps=num_steps,
        seed=seed,
        policy=policy_of(setting),
        lr_of=lr_of,
    )


def _lr_of(lrs: Sequence[float]) -> Callable[[int], float | None]:
    return lambda number: lrs[number - 1]
