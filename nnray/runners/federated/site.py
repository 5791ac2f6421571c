"""A site: reads its own data on its own node, trains on them, and sends what its gate lets out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from nnray.assembly import load_data
from nnray.config import Experiment, SiteConfig, require_federated
from nnray.data.root import data_root
from nnray.data.splits import DataInfo, Examples
from nnray.data.statistics import by_channel
from nnray.errors import ConfigError, Problem
from nnray.federated.outcome import RoundStart
from nnray.federated.partitions.partition import Index, Partition, starts_of
from nnray.federated.statistics import sums
from nnray.federated.strategy import Vectors
from nnray.federated.weights import Weights
from nnray.runners.federated import declared
from nnray.runners.federated.actor import share_tensors
from nnray.runners.federated.egress import Gate, Payload, Refused
from nnray.runners.federated.held import held_out
from nnray.runners.federated.setting import Setting, with_private_examples
from nnray.runners.federated.worker import Worker
from nnray.runners.training import prepare_process


@dataclass(frozen=True, slots=True)
class Plan:
    """What a site is told at first.

    Args:
        experiment: With ``federated.sites``.
        client: Number of the site among them.
        run: Name of the run's folder; that of the log.
    """

    experiment: Experiment
    client: int
    run: str

    @property
    def site(self) -> SiteConfig:
        """Its section."""
        sites = require_federated(self.experiment).sites
        assert sites is not None
        return sites[self.client]

    @property
    def log(self) -> Path:
        """The file in which the site logs what leaves it."""
        site = self.site
        folder = Path(site.log).expanduser().absolute() if site.log else data_root(site.root) / "egress"
        return folder / f"{self.run}-{site.name}.jsonl"


_LEARNT = (
    "the numbers that stand for its words or categories are learnt from examples, and would be others at "
    "each site: take a data set whose numbers are the same everywhere"
)


class Site:
    """What a site's process does; each method gives what leaves it.

    Args:
        plan: What it is told at first.
    """

    def __init__(self, plan: Plan) -> None:
        self._client = plan.client
        self._gate = Gate(declared.about_schema(), log=plan.log, site=plan.site.name)
        data = plan.experiment.data.model_copy(update={"root": plan.site.root})
        self._experiment = plan.experiment.model_copy(update={"data": data})

    def call(self, method: str, *args: Any) -> bytes:
        """Do something; whatever goes wrong, nothing but what the gate says of it gets out."""
        number = next((arg.round for arg in args if isinstance(arg, RoundStart)), 0)
        try:
            return self._gate.seal(getattr(self, method)(*args))
        except BaseException as error:  # noqa: BLE001 (its text, and its trace, may hold examples)
            failed = error
        # Not in the handler: an error raised there would bring the first one along.
        return self._gate.failure(failed, client=self._client, number=number)

    def about(self) -> Payload:
        """Read the data, and tell their form and size."""
        prepare_process(self._experiment)
        splits = load_data(self._experiment)
        if not isinstance(splits.train, Examples):
            raise ConfigError("this experiment", [Problem("data.stream", "leave it out to federate")])
        if splits.refit is not None:
            raise Refused(f"data: {_LEARNT}")
        self._train, self._info = splits.train, splits.info
        self._gate.schema = {**self._gate.schema, **declared.sums_schema(splits.info)}
        return declared.about(splits.info, num_examples=len(splits.train), client=self._client)

    def sums(self, sizes: Index, mean: torch.Tensor | None, kind: str = declared.SUMS) -> Payload:
        """Tell count and sum of each feature over the examples to train on, or of squared distances.

        Args:
            sizes: Examples of each site.
            mean: That distances are from; None for the values themselves.
            kind: Of inputs, or of targets.
        """
        own, _ = self._cut(sizes)
        values = by_channel(self._train.targets) if kind == declared.TARGET_SUMS else self._train.inputs
        known = sums(values[torch.from_numpy(own.examples)], mean=mean)
        return declared.told_sums(known, client=self._client, kind=kind)

    def ready(self, sizes: Index, info: DataInfo) -> Payload:
        """Make what trains."""
        population, held = self._cut(sizes)
        setting = Setting(self._experiment, info, self._train, population, population, held, {}, None)
        setting = with_private_examples(setting, sizes=cut(self._experiment, sizes, info=info)[0].sizes)
        self._gate.schema = {**self._gate.schema, **declared.run_schema(setting)}
        self._worker = Worker(setting)
        return Payload(declared.READY, self._client)

    def train(self, start: RoundStart, state: Vectors) -> Payload:
        """Train, and send what the strategy makes of it."""
        sent = self._worker.trainer.send(start, self._client, state=state)
        tensors = declared.update_tensors(sent.message, ints=sent.ints, report=sent.report)
        return Payload(declared.UPDATE, self._client, start.round, tensors)

    def measure(self, weights: Weights) -> Payload:
        """Measure weights on what is held out."""
        ((_, found),) = self._worker.evaluate_clients(weights, [self._client], {})
        return declared.told_measures(found, client=self._client)

    def _cut(self, sizes: Index) -> tuple[Partition, Partition | None]:
        """The examples of this one, as clients of which no other has any here."""
        population, held = cut(self._experiment, sizes, info=self._info)
        begin = int(starts_of(sizes)[self._client])
        return self._own(population, begin), None if held is None else self._own(held, begin)

    def _own(self, part: Partition, begin: int) -> Partition:
        examples = part.of(self._client) - begin
        counts = np.zeros(len(part), dtype=np.int64)
        counts[self._client] = len(examples)
        return Partition(examples, starts_of(counts))


def cut(experiment: Experiment, sizes: Index, *, info: DataInfo) -> tuple[Partition, Partition | None]:
    """Which examples each site trains on and holds out, as if they stood one site after the other."""
    return held_out(experiment, Partition(np.arange(int(sizes.sum())), starts_of(sizes)), info=info)


@ray.remote
class SiteActor:
    """A site's process.

    Args:
        search: Folders in which the experiment's own modules are found.
    """

    def __init__(self, search: Sequence[str]) -> None:
        sys.path[:0] = [entry for entry in search if entry not in sys.path]
        share_tensors()

    def begin(self, plan: Plan) -> bytes:
        """Read the data, and tell of them."""
        self._site = Site(plan)
        return self._site.call("about")

    def call(self, method: str, *args: Any) -> bytes:
        """Have the site do something."""
        return self._site.call(method, *args)
