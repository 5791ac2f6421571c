"""Tells the driver what Ray Train's controller decides: it runs in the controller's process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    PreemptingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    TrainControllerState,
)
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2.api.exceptions import (
    ControllerError,
    PreemptionError,
    TrainingFailedError,
    WorkerGroupError,
)

from nnray.runners.parallel.mailbox import mention
from nnray.runners.parallel.messages import Fault


class Watch(ControllerCallback):
    """Sends the controller's handle, and each of its decisions that isn't plain sailing.

    Args:
        mailbox: Of the run.
    """

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox
        self._last = ""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Send the handle."""
        self._mailbox.hold.remote(ray.get_runtime_context().current_actor)

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        """Send what happened; a state that lasts is told once."""
        text = told(current_state)
        if text and text != self._last:
            mention(self._mailbox, Fault(text))
        self._last = text


def told(state: TrainControllerState) -> str:
    """What a state of the controller means for a person; nothing where all goes well."""
    if isinstance(state, PreemptingState):
        ranks = _listed(state.preemption_info.preempted_ranks)
        return f"{ranks}: the node will be taken away; training goes on elsewhere from the last checkpoint"
    if isinstance(state, RestartingState):
        return f"{explain(state.training_failed_error)}; workers are started again"
    if isinstance(state, ReschedulingState):
        return f"{explain(state.training_failed_error)}; trying again"
    if isinstance(state, ResizingState) and isinstance(state.scaling_decision, ResizeDecision):
        return f"the cluster has changed: going on with {state.scaling_decision.num_workers} workers"
    return ""


def explain(error: TrainingFailedError) -> str:
    """What has failed, in a line."""
    if isinstance(error, PreemptionError):
        return f"{_listed(error.preemption_info.preempted_ranks)} lost: the node was taken away"
    if isinstance(error, WorkerGroupError):
        return _explain_workers(error.worker_failures)
    if isinstance(error, ControllerError):
        return _first(error.controller_failure)
    return _first(error)


def _explain_workers(failures: Mapping[int, BaseException]) -> str:
    """Those that are gone; else what each said. Those that are left only say that they miss the others."""
    causes = {rank: _cause(error) for rank, error in sorted(failures.items())}
    lost = [rank for rank, error in causes.items() if isinstance(error, RayActorError)]
    if lost:
        return f"{_listed(lost)} lost: the process or its node has ended"
    return "; ".join(f"rank {rank}: {_first(error)}" for rank, error in causes.items())


def _cause(error: BaseException) -> BaseException:
    """What an error of Ray Train's is wrapped around."""
    for name in ("health_check_failure", "_base_exc"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return _cause(inner)
    return error


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _listed(ranks: list[int]) -> str:
    return f"rank {', '.join(map(str, ranks))}"
