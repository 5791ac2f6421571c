"""Ray Tune as the engine: it places trials on warm workers and carries their reports.

What makes a trial cheap: a worker is a Tune actor that is reused (no new process, no new import
of torch), a failed trial is an ordinary result (its worker lives on), Tune's loggers and its own
snapshots are off (our journal has it all), and at most as many trials are out as there are
workers, so that no placement group is asked for in between.

A worker whose trial has ended is held back while another is still starting: Tune would give
it the other's trial and kill the process that is about to be ready, again and again
where trials are shorter than the start of a process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from nnray.runners.memory_limit import memory_limit, oom_kills
from nnray.runners.sweep.conductor import Conductor, Fate
from nnray.runners.sweep.demand import Demand
from nnray.runners.sweep.gang import Gang
from nnray.runners.sweep.members import form_gang
from nnray.runners.sweep.trial import Epoch, Failure, Resting, Trainer, Weights, Worker, WorkerSpec

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_REST_S = 0.05
_HELD_S = 30.0
"""How long a worker waits for another to start, at most: a shared cluster may have no room for it."""

OnModel = Callable[[int, "Callable[[], Weights | None]"], None]
"""Given a trial's number, and what waits for its model."""


class Stopped(Exception):
    """The engine was told to stop; the message says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs a conductor's trials.

    Args:
        conductor: Decides.
        spec: What workers need to know.
        make_trainer: Makes what trains, in a worker.
        each: What a trial takes.
        concurrency: Trials at a time.
        on_model: Told how to get the model of each trial that has ended.
        on_step: Called some ten times a second; gives a reason to stop, or None.
        inherits: Workers have this process's environment anyway, so that those which wait already will do.
    """

    conductor: Conductor
    spec: WorkerSpec
    make_trainer: Callable[[WorkerSpec], Trainer]
    each: Demand
    concurrency: int
    on_model: OnModel
    on_step: Callable[[], str | None]
    inherits: bool = False

    def run(self) -> None:
        """Run trials until there are no more.

        Raises:
            Stopped: ``on_step`` said so. Trials that were running are left to the caller.
        """
        trainable = tune.with_parameters(_TrialActor, spec=self.spec, make_trainer=self.make_trainer)
        proposals = _Proposals(self.conductor, self.concurrency)
        with _quietly(), _scratch() as scratch:
            tune.run(
                trainable,
                num_samples=-1,
                search_alg=ConcurrencyLimiter(proposals, self.concurrency),
                scheduler=_Judge(self.conductor, self.on_model, inherits=self.inherits),
                callbacks=[_Watch(self.conductor, self.on_step), _Mute()],
                resources_per_trial=tune.PlacementGroupFactory(self.each.bundles()),
                reuse_actors=True,
                raise_on_failed_trial=False,
                storage_path=str(scratch),
                trial_dirname_creator=lambda trial: trial.trial_id,
                verbose=0,
            )


class _TrialActor(tune.Trainable):
    """A worker in a process of its own, or the first rank of a gang."""

    def setup(  # type: ignore[override]
        self, config: dict[str, Any], spec: WorkerSpec, make_trainer: Callable[[WorkerSpec], Trainer]
    ) -> None:
        alone = spec.ranks == 1
        self._worker = Worker(spec, make_trainer) if alone else form_gang(spec, make_trainer)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        outcome = self._worker.step()
        if isinstance(outcome, Resting):
            time.sleep(_REST_S)
        return {"outcome": outcome}

    def finish(self) -> Weights | None:
        return self._worker.finish()

    def rest(self) -> None:
        self._worker.rest()

    def cleanup(self) -> None:
        if isinstance(self._worker, Gang):
            self._worker.close()

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._worker.begin(_number(config), json.loads(config["params"]))


class _Proposals(Searcher):
    """Tune's view of who proposes."""

    def __init__(self, conductor: Conductor, concurrency: int) -> None:
        super().__init__(metric=None, mode=None)
        self._conductor, self._concurrency = conductor, concurrency
        self._out: set[str] = set()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Have the limiter around this one leave the counting to ``suggest``."""
        return True

    def suggest(self, trial_id: str) -> Any:
        if self._conductor.is_exhausted:
            return Searcher.FINISHED
        if len(self._out) >= self._concurrency:
            return None
        proposal = self._conductor.propose()
        if proposal is None:
            return Searcher.FINISHED if self._conductor.is_exhausted else None
        self._out.add(trial_id)
        return {"trial": proposal.number, "params": json.dumps(dict(proposal.params))}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A worker is free; one that is held back still counts as taken."""
        self._out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it."""


class _Judge(FIFOScheduler):
    """Tune's view of who decides. A Tune trial is one stretch of ours: after a pause comes another."""

    def __init__(self, conductor: Conductor, on_model: OnModel, *, inherits: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._conductor, self._on_model, self._inherits = conductor, on_model, inherits
        self._over: set[str] = set()
        self._pending_since: dict[str, float] = {}
        self._oom_kills = oom_kills()

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Have Tune ask for no environment of its own: only new processes would have that."""
        trainable = trial.get_trainable_cls()  # type: ignore[no-untyped-call]
        made = tune_controller._class_cache._cache
        if self._inherits and trainable not in made:
            made[trainable] = ray.remote(trainable)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        if trial.trial_id not in self._over:
            fate = self._judge(_number(trial.config), result["outcome"])
            if fate is not Fate.GO_ON:
                self._over.add(trial.trial_id)
                self._let_go(trial, fate)
        if trial.trial_id not in self._over or self._is_another_starting(tune_controller):
            return TrialScheduler.CONTINUE
        self._over.discard(trial.trial_id)
        return TrialScheduler.STOP

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Called at every turn: time to drop what has ended."""
        _forget(tune_controller)
        chosen: TuneTrial | None = super().choose_trial_to_run(tune_controller)
        return chosen

    def on_trial_error(self, tune_controller: Any, trial: TuneTrial) -> None:
        reason = _out_of_memory() if self._has_kernel_killed() else _why(trial)
        self._conductor.fail(_number(trial.config), reason)

    def _has_kernel_killed(self) -> bool:
        """Whether it has ended a process for lack of memory since it was last asked."""
        kills, before = oom_kills(), self._oom_kills
        self._oom_kills = kills
        return kills > before

    def _judge(self, number: int, outcome: Epoch | Failure | Resting) -> Fate:
        match outcome:
            case Epoch():
                return self._conductor.report(number, outcome)
            case Failure():
                is_oom = outcome.is_death and self._has_kernel_killed()
                self._conductor.fail(number, _out_of_memory() if is_oom else outcome.reason)
                return Fate.END
            case Resting():
                return Fate.GO_ON

    def _let_go(self, trial: TuneTrial, fate: Fate) -> None:
        """Have the worker rest, or ask it for the model now, ahead of its next trial; wait elsewhere."""
        actor: Any = trial.temporary_state.ray_actor
        if fate is Fate.PAUSE:
            actor.rest.remote()
            return
        weights = actor.finish.remote()
        self._on_model(_number(trial.config), lambda: ray.get(weights))

    def _is_another_starting(self, tune_controller: Any) -> bool:
        now = time.monotonic()
        pending = [t.trial_id for t in tune_controller.get_live_trials() if t.status == TuneTrial.PENDING]
        self._pending_since = {name: self._pending_since.get(name, now) for name in pending}
        return any(now - since < _HELD_S for since in self._pending_since.values())


class _Watch(tune.Callback):
    """Told of each turn of Tune's loop."""

    def __init__(self, conductor: Conductor, on_step: Callable[[], str | None]) -> None:
        self._conductor, self._on_step = conductor, on_step

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        self._conductor.started(_number(trial.config))

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        reason = self._on_step()
        if reason is not None:
            for trial in trials:
                if trial.temporary_state.ray_actor is not None:
                    ray.kill(trial.temporary_state.ray_actor)
            raise Stopped(reason)


class _Mute(TrialProgressCallback):
    """Stands in the place of Tune's own, which would keep every trial to print of it."""

    def on_trial_result(
        self, iteration: int, trials: Any, trial: TuneTrial, result: Any, **info: Any
    ) -> None:
        """Nothing."""

    def on_trial_error(self, iteration: int, trials: Any, trial: TuneTrial, **info: Any) -> None:
        """Nothing."""

    def on_trial_complete(self, iteration: int, trials: Any, trial: TuneTrial, **info: Any) -> None:
        """Nothing."""


def _forget(tune_controller: Any) -> None:
    """Have Tune let go of trials that have ended: it would keep some 25 kB of each to the end."""
    for ended in (tune_controller._stopped_trials, tune_controller._failed_trials):
        for trial in [trial for trial in ended if trial.is_finished()]:
            ended.discard(trial)
            tune_controller._trials_to_cache.discard(trial)
            tune_controller._trials.remove(trial)


def _number(config: Mapping[str, Any]) -> int:
    return int(config["trial"])


def _why(trial: TuneTrial) -> str:
    """Why Tune lost a trial, in one line; Tune itself keeps no more than the text of the error."""
    path = Path(trial.error_file) if trial.error_file else None
    text = path.read_text() if path is not None and path.exists() else ""
    if "OutOfMemory" in text or "low on memory" in text:
        return "OutOfMemory: its worker was ended because the machine was running out of memory"
    is_unmade = "error raised in its creation task" in text
    if not is_unmade and ("actor died" in text.lower() or "ActorDied" in text):
        return "WorkerDied: its process ended unexpectedly: it was killed, crashed, or ran out of memory"
    lines = [line for line in text.splitlines() if line.strip()]
    return f"WorkerLost: {lines[-1] if lines else 'Ray does not say why'}"[:500]


def _out_of_memory() -> str:
    limit = memory_limit()
    which = f" of {limit / 1e9:.2f} GB" if limit else ""
    return (
        f"OutOfMemory: the kernel killed its worker at the memory limit{which} that this process runs under"
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without Tune's remarks, loggers and signal handlers."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    os.environ.update(_ENVIRONMENT)
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for what Tune writes, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="nnray-tune-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
