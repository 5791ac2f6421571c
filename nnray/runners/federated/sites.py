"""The crew of a run whose clients are sites; of their data this process knows what their gates let out.

An answer is checked once more here. What is left of a data set is forms and sizes, and blank examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import ray
from torch import Tensor

from nnray.config import Experiment, require_federated
from nnray.data.splits import DataInfo, DataSplits
from nnray.data.statistics import Moments, finish
from nnray.errors import ClientFailure, ConfigError, DataError, Problem
from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.partitions.partition import Index, Partition, starts_of
from nnray.federated.statistics import Sums, mean_of, merged
from nnray.federated.strategy import traits
from nnray.federated.weights import Weights
from nnray.metrics import MetricSums
from nnray.runners.federated import declared
from nnray.runners.federated.crew import Parts, States, clients_with_held
from nnray.runners.federated.egress import FAILURE, Payload, Schema, from_bytes
from nnray.runners.federated.setting import Setting, make_strategy, with_private_examples
from nnray.runners.federated.site import cut
from nnray.runners.federated.site_actors import Answer, SiteActors


class Sites:
    """A crew of sites; a context, in which they live.

    Args:
        experiment: With ``federated.sites``.
        run: Name of the run's folder.
        search: Folders in which the experiment's own modules are found.
        on_fault: Told of each site that was lost, or could not measure.

    Raises:
        ClusterError: No node carries the resource of a site, or has room for its actor.
        ConfigError: Something asked for takes data that are in one place.
        DataError: A site can't read its data, or they are not like those of the others.
    """

    def __init__(
        self, experiment: Experiment, *, run: str, search: Sequence[str], on_fault: Callable[[str], None]
    ) -> None:
        require_apart(experiment)
        sites = require_federated(experiment).sites
        assert sites is not None
        self._experiment, self._on_fault = experiment, on_fault
        self._names = [site.name for site in sites]
        self._everywhere = range(len(sites))
        self._schema: Schema = declared.about_schema()
        self._strategy = make_strategy(experiment)
        self._actors = SiteActors(experiment, run=run, search=search, on_fault=on_fault)
        try:
            self.setting = self._gathered()
        except BaseException:
            self._actors.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._actors.end()

    @property
    def splits(self) -> DataSplits:
        """What a run records of its data: none of them."""
        return DataSplits(self.setting.train, None, None, self.setting.info)

    def train(self, start: RoundStart, clients: Sequence[int], states: States) -> Outcome:
        """Each site trains once."""
        begin, outcome = ray.put(start), Outcome()
        for found in self._asked("train", clients, lambda client: (begin, states.get(client, {}))):
            outcome = outcome + self._outcome(found, start)
        return outcome

    def _outcome(self, found: Payload | Failed, start: RoundStart) -> Outcome:
        if isinstance(found, Failed):
            return Outcome(failures=(found,))
        try:
            return declared.read_update(found, start, strategy=self._strategy)
        except DataError as error:
            return Outcome(failures=(Failed(found.client, str(error)),))

    def evaluate(self, weights: Weights, split: str) -> MetricSums:
        """There is nothing here to measure on."""
        raise AssertionError(f"no split {split!r}, nor any: sites measure on what they hold out")

    def evaluate_personal(self, weights: Weights, split: str, states: States) -> MetricSums:
        """Likewise."""
        return self.evaluate(weights, split)

    def evaluate_clients(self, weights: Weights, states: States) -> Parts:
        """Each site measures on what it holds out; one that can't is left out, and said to be.

        Raises:
            ClientFailure: None of them can.
        """
        sent, parts, failures = ray.put(weights), Parts(), list[str]()
        for found in self._asked("measure", clients_with_held(self.setting), lambda client: (sent,)):
            if isinstance(found, Failed):
                failures.append(f"site {self._names[found.client]} measured nothing: {found.error}")
            else:
                parts.append((found.client, declared.read_measures(found)))
        for failure in failures:
            self._on_fault(failure)
        if not parts:
            raise ClientFailure("no site measured the weights:\n" + "\n".join(failures))
        return parts

    def _asked(
        self, method: str, clients: Sequence[int], make: Callable[[int], tuple[Any, ...]]
    ) -> list[Payload | Failed]:
        """What each of some sites answers, by number."""
        return sorted(map(self._read, self._actors.ask(method, clients, make)), key=lambda part: part.client)

    def _read(self, answer: Answer) -> Payload | Failed:
        if isinstance(answer, Failed):
            return answer
        payload = from_bytes(answer, self._schema)
        if payload.kind != FAILURE:
            return payload
        kind, ours = payload.words
        name = self._names[payload.client]
        return Failed(payload.client, ours or f"{kind} at site {name}: the log there has the rest")

    def _gathered(self) -> Setting:
        """Begin everywhere, and put together what the sites tell."""
        told, name = self._actors.begin(), self._experiment.data.name
        abouts = [declared.read_about(part, name=name) for part in self._sound(map(self._read, told))]
        info = self._common([info for info, _ in abouts])
        sizes = np.array([count for _, count in abouts], dtype=np.int64)
        self._schema = {**self._schema, **declared.sums_schema(info)}
        if self._experiment.data.normalize:
            mean, std = self._moments(sizes)
            info = replace(info, mean=mean, std=std)
        if info.targets == "numbers":
            target_mean, target_std = self._moments(sizes, declared.TARGET_SUMS)
            info = replace(info, target_mean=target_mean, target_std=target_std)
        # Of what was told, not of data: by a digest of these whoever has a guess at them could try it.
        info = replace(info, digest=hashlib.sha256(b"".join(told)).hexdigest())
        setting = _setting(self._experiment, info, sizes)
        self._schema = {**self._schema, **declared.run_schema(setting)}
        self._sound(map(self._read, self._actors.ready(sizes, info)))
        return setting

    def _moments(self, sizes: Index, kind: str = declared.SUMS) -> Moments:
        mean = mean_of(self._sums(sizes, None, kind))
        return finish(mean, mean_of(self._sums(sizes, mean, kind)))

    def _sums(self, sizes: Index, mean: Tensor | None, kind: str) -> Sums:
        found = self._sound(self._asked("sums", self._everywhere, lambda client: (sizes, mean, kind)))
        return merged(map(declared.read_sums, found))

    def _sound(self, answers: Any) -> list[Payload]:
        """Answers of all sites; before the first round none may fail."""
        found = list(answers)
        if failed := [part for part in found if isinstance(part, Failed)]:
            raise DataError("\n".join(part.error for part in failed))
        return found

    def _common(self, infos: Sequence[DataInfo]) -> DataInfo:
        for name, info in zip(self._names, infos, strict=True):
            if info != infos[0]:
                raise DataError(
                    f"sites {self._names[0]} and {name} have data of other forms: {_form(infos[0])}, and "
                    f"{_form(info)}; have the data set say its classes at every site"
                )
        return infos[0]


def require_apart(experiment: Experiment) -> None:
    """Refuse what needs the examples of all sites in one place.

    Raises:
        ConfigError: With all of it.
    """
    federated, data = require_federated(experiment), experiment.data
    said, problems = traits(make_strategy(experiment)), []
    if said.pooled or said.is_personal:
        message = f"{federated.strategy.name!r} does not make one model of what sites send: take another one"
        problems.append(Problem("federated.strategy", message))
    if said.is_staged:
        message = (
            f"{federated.strategy.name!r} has clients keep weights, and what sites keep is sent with updates"
        )
        problems.append(Problem("federated.strategy", f"{message}: take another one"))
    if data.validation:
        message = "must be 0 with federated.sites: they measure on federated.holdout of their own examples"
        problems.append(Problem("data.validation", f"{message} (got {data.validation})"))
    if data.stream:
        problems.append(Problem("data.stream", "leave it out to federate: sites hold their data in memory"))
    if problems:
        raise ConfigError(experiment.name, problems)


def _setting(experiment: Experiment, info: DataInfo, sizes: Index) -> Setting:
    population, held = cut(experiment, sizes, info=info)
    whole = Partition(np.arange(int(sizes.sum())), starts_of(sizes))
    examples = declared.blank(info, int(sizes.sum()))
    return with_private_examples(Setting(experiment, info, examples, whole, population, held, {}, None))


def _form(info: DataInfo) -> str:
    wanted = f"{info.num_classes} classes" if info.classes else f"{info.targets} {list(info.target_shape)}"
    tokens = f", {info.vocabulary} tokens" if info.vocabulary else ""
    categories = f", categories {list(info.categories)}" if info.categories else ""
    missing = ", some missing" if info.missing else ""
    return f"{list(info.input_shape)} of {wanted}{tokens}{categories}{missing}"
