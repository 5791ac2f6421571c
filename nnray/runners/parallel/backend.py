"""Torch's process group as Ray Train makes it, each node by the interface that Ray knows it by."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch.config import TorchConfig, _TorchBackend

from nnray.runners.sweep.rendezvous import interface


@dataclass
class NodeTorchConfig(TorchConfig):
    """A process group whose gloo connections go over the nodes' own addresses."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What sets it up."""
        return _NodeTorchBackend


class _NodeTorchBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(choose_interface)
        super().on_start(worker_group, backend_config)


def choose_interface() -> None:
    """Have gloo use the interface of this node's address: a host's name often leads to the loopback."""
    name = interface(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
