"""The section on federated training: who the clients are, what a round is, and what may go wrong in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ValidationInfo, field_validator

from nnray import registry
from nnray.config.components import Component, Kind, Section, failure
from nnray.config.federated_parts import (
    AsynchronousConfig,
    AttackConfig,
    SecureConfig,
    Share,
    SiteConfig,
    TargetConfig,
    asynchronous_problems,
    secure_problems,
    site_problems,
)
from nnray.errors import ConfigError, Problem
from nnray.fields import NonNegative, NonNegativeInt, Positive, PositiveInt, Probability

T = TypeVar("T")


class FederatedConfig(Section):
    """Training by clients that keep their examples, in rounds.

    Args:
        sites: Parties that read their own data on their own nodes, each a client; null: the examples of one
            data set are shared out among clients.
        partition: How the training examples are shared out among clients.
        clients: How many there are; null: one for each writer, hospital and so on of a natural partition.
        rounds: Times that a cohort trains and the server steps.
        sampler: Who is in a round's cohort.
        cohort: Clients that train in a round; null: ``fraction_fit`` of them, or all.
        fraction_fit: The cohort as a share of the clients, instead.
        local_epochs: Passes of a client over its examples; null: ``local_steps``, or 1.
        local_steps: Optimizer steps of a client, instead.
        batch_size: Of a client's steps; ``all``: all that it has; null: ``training.batch_size``.
        strategy: How the next weights are made of what clients send.
        server_optimizer: What steps the server's weights, for strategies that take one.
        workers: Ray actors that train clients; 0: this process does; null: one for each core.
        cpus_per_worker: CPU cores that a worker takes.
        gpus_per_worker: GPUs that a worker takes; a fraction shares one.
        evaluate_every: Rounds between evaluations; the last round is always one.
        holdout: Share of each client's examples that it doesn't train on, to evaluate clients one by one.
        on_client_error: What follows where a client raises or gives what is not finite: try once more,
            go on without it, or end the run.
        min_updates: Clients that a round needs; with fewer the run ends.
        deadline_s: Seconds after which a round no longer waits for a client; null: for ever.
        over_select: Spare clients drawn for a round, to stand in for those that fail.
        checkpoint_every: Rounds between checkpoints.
        target: What is to be reached.
        stacked: Train clients that take equally many steps as one batched model; ``auto``: where faster.
        max_update_norm: Longest update that the gate of a site lets out; null: any that is finite.
        aggregator: A robust rule in place of the mean over clients; null: the mean.
        attack: Clients that attack, in simulation.
        codec: What clients send goes over a thin link.
        secure: What clients send is masked, so that the server sees nothing but sums.
        devices: How fast clients are, and when they are there: rounds are then timed in virtual time.
        round_deadline_s: Virtual seconds after which a round waits no longer for a device; null: for ever.
        asynchronous: No cohorts: the server steps whenever enough updates have come.
    """

    sites: list[SiteConfig] | None = None
    partition: Annotated[Component, Kind("partition")] = Component(name="iid")
    clients: PositiveInt | None = None
    rounds: PositiveInt = 100
    sampler: Annotated[Component, Kind("sampler")] = Component(name="uniform")
    cohort: PositiveInt | None = None
    fraction_fit: Share | None = None
    local_epochs: PositiveInt | None = None
    local_steps: PositiveInt | None = None
    batch_size: PositiveInt | Literal["all"] | None = None
    strategy: Annotated[Component, Kind("strategy")] = Component(name="fedavg")
    server_optimizer: Annotated[Component, Kind("optimizer")] | None = None
    workers: NonNegativeInt | None = None
    cpus_per_worker: Positive = 1.0
    gpus_per_worker: NonNegative = 0.0
    evaluate_every: PositiveInt = 1
    holdout: Probability = 0.0
    on_client_error: Literal["retry", "drop", "fail"] = "retry"
    min_updates: PositiveInt = 1
    deadline_s: Positive | None = None
    over_select: NonNegativeInt = 0
    checkpoint_every: PositiveInt = 1
    target: TargetConfig | None = None
    stacked: Literal["auto"] | bool = "auto"
    max_update_norm: Positive | None = None
    aggregator: Annotated[Component, Kind("aggregator")] | None = None
    attack: Annotated[AttackConfig, Kind("client_attack")] | None = None
    codec: Annotated[Component, Kind("codec")] | None = None
    secure: SecureConfig | None = None
    devices: Annotated[Component, Kind("device")] | None = None
    round_deadline_s: Positive | None = None
    asynchronous: AsynchronousConfig | None = None

    def cohort_of(self, clients: int) -> int:
        """How many of ``clients`` a round takes.

        Raises:
            ConfigError: More than there are, or none.
        """
        wrong = list(_cohort_problems(clients, self.cohort, fraction=self.fraction_fit))
        if wrong:
            raise ConfigError("this experiment", wrong)
        return _cohort(clients, self.cohort, fraction=self.fraction_fit)

    @field_validator("sites")
    @classmethod
    def _check_sites(cls, value: list[SiteConfig] | None) -> list[SiteConfig] | None:
        for problem in site_problems(value):
            raise failure(problem)
        return value

    @field_validator("partition")
    @classmethod
    def _check_partition(cls, value: Component, info: ValidationInfo) -> Component:
        if info.data.get("sites") and (value.name, value.kwargs) != ("iid", {}):
            raise failure(
                f"is left out where there are federated.sites: each has its own data (got {value.name!r})"
            )
        return value

    @field_validator("workers", "stacked", "max_update_norm")
    @classmethod
    def _check_fits_sites(cls, value: Any, info: ValidationInfo) -> Any:
        sites, name = info.data.get("sites"), info.field_name
        if sites and name == "workers" and value is not None:
            raise failure(f"is left out where there are federated.sites: each has one worker (got {value})")
        if sites and name == "stacked" and value is True:
            raise failure("can't be true where there are federated.sites: each trains by itself")
        if "sites" in info.data and not sites and name == "max_update_norm" and value is not None:
            raise failure(f"is of the gate of a site: it needs federated.sites (got {value})")
        return value

    @field_validator("secure")
    @classmethod
    def _check_secure(cls, value: SecureConfig | None, info: ValidationInfo) -> SecureConfig | None:
        for problem in secure_problems(value, info.data):
            raise failure(problem)
        return value

    @field_validator("round_deadline_s", "asynchronous")
    @classmethod
    def _check_timed(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and "devices" in info.data and info.data["devices"] is None:
            raise failure("is in virtual time: it needs federated.devices, such as {name: lognormal}")
        return value

    @field_validator("asynchronous")
    @classmethod
    def _check_asynchronous(
        cls, value: AsynchronousConfig | None, info: ValidationInfo
    ) -> AsynchronousConfig | None:
        for problem in asynchronous_problems(value, info.data):
            raise failure(problem)
        return value

    @field_validator("clients")
    @classmethod
    def _check_clients(cls, value: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("sites", True):
            if value is not None and "sites" in info.data:
                raise failure(
                    f"is left out where there are federated.sites: each is one client (got {value})"
                )
            return value
        partition = info.data.get("partition")
        if value is None and partition and not _takes("partition", partition.name, "groups", info):
            own = ", ".join(_takers("partition", "groups"))
            raise failure(
                f"is missing: partition {partition.name!r} needs a number of clients, an integer above 0; "
                f"a partition with clients of its own is: {own or 'none of the catalog'}"
            )
        return value

    @field_validator("cohort")
    @classmethod
    def _check_cohort(cls, value: int | None, info: ValidationInfo) -> int | None:
        return _checked(value, _cohort_problems(_known_clients(info), value, fraction=None))

    @field_validator("fraction_fit")
    @classmethod
    def _check_fraction_fit(cls, value: float | None, info: ValidationInfo) -> float | None:
        cohort = info.data.get("cohort")
        if value is not None and cohort is not None:
            raise failure(f"and cohort both say how many train: leave one out (got {value} and {cohort})")
        return _checked(value, _cohort_problems(_known_clients(info), None, fraction=value))

    @field_validator("local_steps")
    @classmethod
    def _check_local_steps(cls, value: int | None, info: ValidationInfo) -> int | None:
        epochs = info.data.get("local_epochs")
        if value is not None and epochs is not None:
            raise failure(
                f"and local_epochs both say how long a client trains: leave one out (got {value}, {epochs})"
            )
        return value

    @field_validator("server_optimizer")
    @classmethod
    def _check_server_optimizer(cls, value: Component | None, info: ValidationInfo) -> Component | None:
        strategy = info.data.get("strategy")
        if value and strategy and not _takes("strategy", strategy.name, "server_optimizer", info):
            takers = ", ".join(_takers("strategy", "server_optimizer")) or "your own"
            raise failure(f"is not used by strategy {strategy.name!r}: leave it out, or take one of {takers}")
        return value

    @field_validator("min_updates")
    @classmethod
    def _check_min_updates(cls, value: int, info: ValidationInfo) -> int:
        most = _known_cohort(info)
        if most is not None and value > most:
            raise failure(f"must be at most the cohort, which is {most} (got {value})")
        return value

    @field_validator("over_select")
    @classmethod
    def _check_over_select(cls, value: int, info: ValidationInfo) -> int:
        sampler, clients, cohort = info.data.get("sampler"), _known_clients(info), _known_cohort(info)
        if value and sampler and not _takes("sampler", sampler.name, "spare", info):
            takers = ", ".join(_takers("sampler", "spare"))
            raise failure(
                f"needs a sampler that gives spare clients, such as {takers} (got {sampler.name!r})"
            )
        if clients is not None and cohort is not None and value > clients - cohort:
            raise failure(f"must be at most {clients - cohort}, the clients beside the cohort (got {value})")
        return value


def _takes(kind: str, name: str, runtime: str, info: ValidationInfo) -> bool:
    search = (info.context or {}).get("search", ())
    return registry.signature(kind, name, search=search).takes(runtime)


def _takers(kind: str, runtime: str) -> list[str]:
    return [name for name in registry.names(kind) if registry.signature(kind, name).takes(runtime)]


def _cohort(clients: int, cohort: int | None, *, fraction: float | None) -> int:
    return cohort or (clients if fraction is None else round(fraction * clients))


def _cohort_problems(clients: int | None, cohort: int | None, *, fraction: float | None) -> Iterator[Problem]:
    if clients is None:
        return
    if cohort is not None and cohort > clients:
        message = f"must be at most federated.clients, which is {clients} (got {cohort})"
        yield Problem("federated.cohort", message)
    if fraction is not None and not _cohort(clients, None, fraction=fraction):
        message = f"of {clients} clients is nobody: take at least {1 / clients:.2g} (got {fraction})"
        yield Problem("federated.fraction_fit", message)


def _checked(value: T, problems: Iterator[Problem]) -> T:
    for problem in problems:
        raise failure(problem.message)
    return value


def _known_cohort(info: ValidationInfo) -> int | None:
    """The cohort, where the file tells it and it is no mistake."""
    given: dict[str, Any] = info.data
    if not {"clients", "cohort", "fraction_fit"} <= given.keys():
        return None
    clients = _known_clients(info)
    if given["cohort"] is not None or clients is None:
        found: int | None = given["cohort"]
        return found
    return _cohort(clients, None, fraction=given["fraction_fit"])


def _known_clients(info: ValidationInfo) -> int | None:
    """How many there are, where the file tells it: each site is one."""
    sites: list[SiteConfig] | None = info.data.get("sites")
    clients: int | None = info.data.get("clients")
    return len(sites) if sites else clients
