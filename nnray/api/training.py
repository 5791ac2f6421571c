"""The verbs that train: here, by several workers, as a sweep, federated; and going on with what was begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nnray import config
from nnray.api.experiments import Source, resolve, search_modules, search_path
from nnray.errors import Interrupted, RunError
from nnray.runners.store import opened_tracker, prepare_store

if TYPE_CHECKING:
    from nnray.runners.federated.result import FederatedResult
    from nnray.runners.folder import RunFolder
    from nnray.runners.results import RunResult
    from nnray.runners.sweep import SweepResult


def train(
    experiment: Source, overrides: Sequence[str] = (), *, once: str | None = None, quiet: bool = False
) -> RunResult:
    """Train one network in this process, or by several workers with a ``parallel`` section; record it.

    Args:
        experiment: What to train.
        overrides: As for ``load``.
        once: A name for the run; given again, it goes on with that run, or gives its result.
        quiet: Show no progress.

    Raises:
        NnrayError: Whatever is wrong, in words.
    """
    from nnray.runners.once import begin

    resolved = resolve(experiment, overrides)
    config.require_validation(resolved)
    config.require_examples_private(resolved)
    prepare_store(resolved, Path(resolved.tracking.dir))
    return _train(begin(resolved, "train", once=once, search=search_path()), quiet=quiet)


def sweep(
    experiment: Source,
    overrides: Sequence[str] = (),
    *,
    warm_start: str | None = None,
    once: str | None = None,
    quiet: bool = False,
) -> SweepResult:
    """Search the experiment's ``sweep.space`` with Ray Tune and Optuna, and record every trial.

    Args:
        experiment: With a ``sweep`` section.
        overrides: As for ``load``.
        warm_start: An earlier sweep, as for ``resume``, whose trials the searcher knows from the start.
        once: As for ``train``.
        quiet: Show no progress.

    Raises:
        ConfigError: There is no ``sweep`` section.
        RunError: The earlier sweep isn't there, or has nothing that can be used.
        NnrayError: Whatever else is wrong, in words.
    """
    from nnray.runners import folder
    from nnray.runners.once import begin

    resolved = resolve(experiment, overrides)
    searched = config.require_sweep(resolved)
    config.require_validation(resolved)
    if searched.of == "train":
        config.require_examples_private(resolved)
    files = {}
    if warm_start is not None:
        from nnray.runners.sweep.warm import WARM, gather

        files[WARM] = gather(folder.find(warm_start, root=Path(resolved.tracking.dir)), resolved)
    prepare_store(resolved, Path(resolved.tracking.dir))
    run = begin(resolved, "sweep", once=once, search=search_path(), files=files)
    return _sweep(run, quiet=quiet)


def federate(
    experiment: Source, overrides: Sequence[str] = (), *, once: str | None = None, quiet: bool = False
) -> FederatedResult:
    """Train one network by clients that keep their examples, as the ``federated`` section says; record it.

    Args:
        experiment: With a ``federated`` section.
        overrides: As for ``load``.
        once: As for ``train``.
        quiet: Show no progress.

    Raises:
        ConfigError: There is no ``federated`` section.
        ClientFailure: Too few clients of a round came to an update; each one is named.
        NnrayError: Whatever else is wrong, in words.
    """
    from nnray.runners.once import begin

    resolved = resolve(experiment, overrides)
    config.require_federated(resolved)
    prepare_store(resolved, Path(resolved.tracking.dir))
    return _federate(begin(resolved, "federate", once=once, search=search_path()), quiet=quiet)


def resume(
    run: str | None = None,
    *,
    root: str | Path = "runs",
    trials: str | int | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> RunResult | SweepResult | FederatedResult:
    """Go on with an interrupted run, exactly where it stood.

    A run that has ended gives its result again; a sweep with more trials than it had goes on.

    Args:
        run: An MLflow run id, or the name or path of a run's folder; None for the newest run.
        root: The folder that holds the runs' folders.
        trials: How many trials a sweep shall have; ``"+20"`` for so many more than it had.
        workers: How many workers a data-parallel or federated run goes on with, where it shall not be as
            many as before.
        quiet: Show no progress.

    Raises:
        RunError: There is no such run, or it can't be resumed.
    """
    from nnray.runners import folder

    found = folder.last(Path(root)) if run is None else folder.find(run, root=Path(root))
    search_modules([Path(entry) for entry in found.record["search"]])
    verb = found.record["verb"]
    if trials is not None and verb != "sweep":
        raise RunError(f"{found.name} is a {verb}: only a sweep has trials")
    if workers is not None:
        _change_workers(found, workers)
    prepare_store(found.experiment, found.path.parent)
    if trials is not None:
        from nnray.runners.sweep.extend import extend

        extend(found, trials)
    if verb == "sweep":
        return _sweep(found, quiet=quiet)
    return _federate(found, quiet=quiet) if verb == "federate" else _train(found, quiet=quiet)


def _change_workers(run: RunFolder, workers: int) -> None:
    """Have a data-parallel or federated run go on with another number of workers."""
    experiment, verb = run.experiment, run.record["verb"]
    if verb == "federate":
        run.reconfigure(config.override(experiment, [f"federated.workers={workers}"]))
    elif verb == "train" and experiment.parallel is not None:
        run.reconfigure(config.override(experiment, [f"parallel.workers={workers}"]))
    else:
        raise RunError(f"{run.name} was not trained with a parallel section: it has no workers to change")


def _train(run: RunFolder, *, quiet: bool) -> RunResult:
    from nnray.runners.display import choose_display

    experiment = run.experiment
    if experiment.parallel is None:
        from nnray.runners.local import train as train_there
    else:
        from nnray.runners.parallel import train as train_there
    with _resumable(run), opened_tracker(experiment, run) as tracker:
        return train_there(experiment, run, tracker=tracker, display=choose_display(quiet=quiet))


def _sweep(run: RunFolder, *, quiet: bool) -> SweepResult:
    from nnray.runners.sweep import sweep as sweep_here

    experiment = run.experiment
    with _resumable(run), opened_tracker(experiment, run) as tracker:
        return sweep_here(experiment, run, tracker=tracker, quiet=quiet)


def _federate(run: RunFolder, *, quiet: bool) -> FederatedResult:
    from nnray.runners.federated import federate as federate_here
    from nnray.runners.federated.display import choose_display

    experiment = run.experiment
    with _resumable(run), opened_tracker(experiment, run) as tracker:
        return federate_here(experiment, run, tracker=tracker, display=choose_display(quiet=quiet))


@contextmanager
def _resumable(run: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C into an interrupt that knows which run to go on with."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        raise Interrupted(run.name) from interrupt
