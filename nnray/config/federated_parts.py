"""Parts of the section on federated training: what is to be reached, sites, and who is not trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo, field_validator

from nnray.config.components import Component, Section, failure
from nnray.config.sections import Name, Text
from nnray.fields import Finite, NonNegativeInt, PositiveInt, Probability
from nnray.registry import shown


def _check_fraction(value: float) -> float:
    if 0 < value <= 1:
        return value
    raise failure(f"must be a number above 0 and at most 1 (got {shown(value)})")


def _check_measure(value: str) -> str:
    if re.fullmatch(r"(test|val|train|client)_\w+", value):
        return value
    raise failure(
        f"must be a metric of a round such as test_accuracy, val_loss or client_accuracy (got {shown(value)})"
    )


Share = Annotated[float, AfterValidator(_check_fraction)]
Measure = Annotated[str, AfterValidator(_check_measure)]


class TargetConfig(Section):
    """What a federated run is to reach; how many rounds that takes is counted.

    Args:
        metric: Of the round; higher or lower is better by its name.
        value: To reach.
        stop: Train no further then.
    """

    metric: Measure = "test_accuracy"
    value: Finite
    stop: bool = False


class SiteConfig(Section):
    """A party with data of its own, on nodes of its own: one client.

    Args:
        name: Of the site.
        resource: The custom Ray resource that its nodes carry, and no other site's.
        root: Folder of its data, there; null: what ``$NNRAY_DATA`` says there, else a cache folder.
        log: Folder of its egress log, there; null: ``egress`` in the folder of its data.
    """

    name: Name
    resource: Text
    root: Text | None = None
    log: Text | None = None


class AttackConfig(Component):
    """Clients that are hostile, in simulation, with the keys of the attack.

    Args:
        name: A name of the catalog, or ``module:function`` for code of your own.
        fraction: Share of all clients that attack, rounded down; the same ones for the whole run.
    """

    fraction: Share


class SecureConfig(Section):
    """Sums of which the server sees nothing but the total (secure aggregation).

    Args:
        neighbours: Other clients whose masks cancel a client's; null: as many as ``corrupt`` and ``dropped``
            ask for.
        threshold: Of a client and its neighbours, who must stay to the end; null: likewise.
        corrupt: Largest share of clients that may lie to the server's advantage, all together.
        dropped: Largest share that may drop out.
    """

    neighbours: PositiveInt | None = None
    threshold: PositiveInt | None = None
    corrupt: Probability = 0.1
    dropped: Probability = 0.1


class AsynchronousConfig(Section):
    """Training without cohorts, in virtual time: the server steps whenever enough updates have come.

    Args:
        concurrency: Clients that are at work at the same time.
        buffer: Updates that make a step of the server, which counts as a round.
        max_staleness: Steps of the server after which an update is of no use; null: any is.
    """

    concurrency: PositiveInt
    buffer: PositiveInt = 1
    max_staleness: NonNegativeInt | None = None

    @field_validator("buffer")
    @classmethod
    def _check_buffer(cls, value: int, info: ValidationInfo) -> int:
        at_work = info.data.get("concurrency")
        if at_work is not None and value > at_work:
            raise failure(f"must be at most concurrency, which is {at_work} (got {value})")
        return value


_NOT_CUSTOM = ("CPU", "GPU", "memory", "object_store_memory")


_ASYNCHRONOUS = ("fedbuff", "fedasync")


def asynchronous_problems(value: AsynchronousConfig | None, given: Mapping[str, Any]) -> Iterator[str]:
    """What in the rest of the section stands against training without cohorts, or asks for it in vain.

    Args:
        value: How it is asked for; None for not at all.
        given: The fields that are right so far.
    """
    strategy, sampler = given.get("strategy"), given.get("sampler")
    if value is None:
        if strategy is not None and strategy.name in _ASYNCHRONOUS:
            yield f"is missing: strategy {strategy.name!r} needs it, such as {{concurrency: 10, buffer: 5}}"
        return
    if sampler is not None and sampler.name != "uniform":
        yield f"draws clients one by one: leave federated.sampler out (got {sampler.name!r})"
    for name in ("cohort", "fraction_fit"):
        if given.get(name) is not None:
            yield f"has no cohorts: leave federated.{name} out, concurrency says how many are at work"
    if given.get("min_updates", 1) > value.buffer:
        yield f"steps after {value.buffer} updates: federated.min_updates can't be {given['min_updates']}"


def secure_problems(value: SecureConfig | None, given: Mapping[str, Any]) -> Iterator[str]:
    """What stands against secure sums in the rest of the section, and in what they are asked for with.

    Args:
        value: How they are asked for; None for not at all.
        given: The fields that are right so far.
    """
    if value is None:
        return
    if given.get("on_client_error") == "retry":
        yield (
            "can't try a client again, for one that failed can't join the sum any more: set "
            "federated.on_client_error to drop (as many as secure.dropped says are recovered from) or fail"
        )
    if value.neighbours is not None and (value.neighbours < 2 or value.neighbours % 2):
        yield (
            "has neighbours on both sides of a ring, as many on each: neighbours must be 2, 4, 6, ... "
            f"(got {value.neighbours})"
        )
    if value.threshold is not None and value.neighbours is None:
        yield (
            f"has a threshold ({value.threshold}) but no number of neighbours, who are counted by it: set "
            "neighbours, or leave both out"
        )
    if value.corrupt + 2 * value.dropped >= 1:
        got = f"got {value.corrupt:g} and {value.dropped:g}"
        yield f"has no threshold that is safe: corrupt + 2 * dropped must be below 1 ({got})"


def site_problems(sites: list[SiteConfig] | None) -> Iterator[str]:
    """What is wrong with a list of sites."""
    if sites is None:
        return
    if not sites:
        yield "is empty: name at least one site, or leave it out"
    for key in ("name", "resource"):
        values = [getattr(site, key) for site in sites]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            yield f"has the {key} {twice[0]!r} twice: each site has its own"
    if wrong := [site.resource for site in sites if site.resource in _NOT_CUSTOM]:
        yield f"has the resource {wrong[0]!r}, which any node may have: take a custom one of the site's nodes"
