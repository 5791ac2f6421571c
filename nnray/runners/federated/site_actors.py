"""The actors of sites: each on a node of its site, and begun anew if it is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from nnray.config import Experiment, SiteConfig, require_federated
from nnray.errors import ClusterError
from nnray.federated.outcome import Failed
from nnray.runners.federated.actor import share_tensors
from nnray.runners.federated.gathering import Gathering
from nnray.runners.federated.site import Plan, SiteActor
from nnray.runners.federated.worker import Busy

Answer = bytes | Failed
"""A sealed payload, or why there is none."""
_SLIVER = 0.001
"""Of a site's resource that its actor takes: it says where, not how much."""
_LOOK_S = 2.0
"""How often it is seen whether the node of a site that is beginning is still there."""
_DEATHS = 20
"""Of actors in a run, after which it is the cluster that is at fault."""


class SiteActors:
    """One actor for each site; what they answer is not looked into here.

    Args:
        experiment: With ``federated.sites``.
        run: Name of the run's folder.
        search: Folders in which the experiment's own modules are found.
        on_fault: Told of each actor that was lost.

    Raises:
        ClusterError: No node carries the resource of a site, or has room for its actor.
    """

    def __init__(
        self, experiment: Experiment, *, run: str, search: Sequence[str], on_fault: Callable[[str], None]
    ) -> None:
        federated = require_federated(experiment)
        assert federated.sites is not None
        self._sites, self._experiment, self._run = federated.sites, experiment, run
        self._search, self._on_fault, self._deadline_s = list(search), on_fault, federated.deadline_s
        self._needs = {"CPU": federated.cpus_per_worker, "GPU": federated.gpus_per_worker}
        require_places(self._sites, needs=self._needs)
        share_tensors()
        self._actors: dict[int, Any] = {}
        self._since: dict[int, float] = {}
        self._told: dict[int, bytes] = {}
        self._ready: tuple[Any, ...] | None = None
        self._deaths = 0

    def begin(self) -> list[bytes]:
        """Have every site read its data; what each tells of them.

        Raises:
            ClusterError: A site was lost meanwhile.
        """
        begun = {place: self._start(place) for place in range(len(self._sites))}
        for place, ref in begun.items():
            found = self._get(place, ref)
            if isinstance(found, Failed):
                raise ClusterError(f"site {self._sites[place].name} did not begin: {found.error}")
            self._told[place] = found
        return list(self._told.values())

    def ready(self, *args: Any) -> list[Answer]:
        """Have every site make what trains; one that is begun anew does it of itself."""
        self._ready = args
        return self.ask("ready", range(len(self._sites)), lambda client: args)

    def ask(
        self, method: str, clients: Sequence[int], make: Callable[[int], tuple[Any, ...]]
    ) -> list[Answer]:
        """What each of some sites answers; those that are away are looked for first."""
        gathering = Gathering(self, method, lambda items: make(items[0]), self._deadline_s)
        for client in map(int, clients):
            if client not in self._actors:
                self._bring_back(client)
            gathering.begin(client, [client])
        return gathering.results()

    def end(self) -> None:
        """End all of them."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors = {}

    def submit(self, place: int, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method of a site; one that is away has failed."""
        self._since[place] = time.monotonic()
        if place not in self._actors:
            return ray.put(Failed(place, f"site {self._sites[place].name} is away"))
        return self._actors[place].call.remote(method, *args)

    def busy(self, place: int) -> Busy | None:
        """How long a site has taken: it has one client."""
        return Busy(place, time.monotonic() - self._since[place])

    def check(self, place: int) -> None:
        """A site was looked at when it began."""

    def replace(self, place: int, why: str) -> None:
        """Begin a site anew that is lost, or put up with its being away."""
        self._deaths += 1
        self._on_fault(f"site {self._sites[place].name} was lost: {why}")
        if self._deaths > _DEATHS:
            raise ClusterError(
                f"sites were lost {self._deaths} times, the last one as {why}: look at the cluster's logs; "
                "`nnray resume` goes on from the last checkpoint"
            )
        ray.kill(self._actors.pop(place))
        self._bring_back(place)

    def _start(self, place: int) -> Any:
        options = {
            "num_cpus": self._needs["CPU"],
            "num_gpus": self._needs["GPU"],
            "resources": {self._sites[place].resource: _SLIVER},
        }
        actor = SiteActor.options(**options).remote(self._search)  # type: ignore[attr-defined]
        self._actors[place] = actor
        return actor.begin.remote(Plan(self._experiment, place, self._run))

    def _get(self, place: int, ref: Any) -> Answer:
        """An answer; Ray itself would wait for ever for a node that is gone."""
        while not ray.wait([ref], timeout=_LOOK_S)[0]:
            if not _carriers(self._sites[place], needs=self._needs):
                return Failed(place, f"its node is gone that carried {self._sites[place].resource!r}")
        try:
            found: bytes = ray.get(ref)
        except RayActorError:
            return Failed(place, "its process was lost")
        except RayTaskError as error:
            raise error.cause from error  # itself, in its own words
        return found

    def _bring_back(self, place: int) -> None:
        if not _carriers(self._sites[place], needs=self._needs):
            return
        found = self._get(place, self._start(place))
        if found == self._told[place] and self._ready is not None:
            found = self._get(place, self._actors[place].call.remote("ready", *self._ready))
        elif isinstance(found, bytes):
            found = Failed(place, "its data are not what they were when the run began")
        if isinstance(found, Failed):
            self._on_fault(f"site {self._sites[place].name} did not come back: {found.error}")
            ray.kill(self._actors.pop(place))


def require_places(sites: Sequence[SiteConfig], *, needs: Mapping[str, float]) -> None:
    """Refuse what Ray would wait for for ever.

    Raises:
        ClusterError: No node carries the resource of a site, or has room for its actor.
    """
    for site in sites:
        if not _carriers(site, needs=needs):
            asked = " and ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount)
            has = "; ".join(_described(node) for node in _nodes()) or "nothing"
            start = f"ray start --resources='{json.dumps({site.resource: 1})}'"
            raise ClusterError(
                f"site {site.name}: no node carries the resource {site.resource!r} and {asked}; the nodes "
                f"have {has}: start a node of the site with {start}"
            )


def _carriers(site: SiteConfig, *, needs: Mapping[str, float]) -> list[Mapping[str, float]]:
    wanted = {**needs, site.resource: _SLIVER}
    return [
        node for node in _nodes() if all(node.get(name, 0.0) >= amount for name, amount in wanted.items())
    ]


def _nodes() -> Iterator[Mapping[str, float]]:
    """The resources of each node that is alive."""
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            yield node["Resources"]


def _described(node: Mapping[str, float]) -> str:
    hidden = ("memory", "object_store_memory")
    named = [f"{amount:g} {name}" for name, amount in sorted(node.items())
             if name not in hidden and not name.startswith("node:")]  # fmt: skip
    return ", ".join(named) or "none"
