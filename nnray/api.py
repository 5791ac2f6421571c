"""The verbs, as functions: nouns go in, nouns come out, so that they compose.

exp = nnray.load("jobs/digits.yaml")
best = nnray.sweep(exp).best
nnray.train(best)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray import config
from nnray.config import Experiment
from nnray.errors import Interrupted, RunError
from nnray.registry.listing import entries as entries
from nnray.registry.listing import kinds as kinds
from nnray.runners.store import drain, opened_tracker, prepare_store, say

if TYPE_CHECKING:
    from nnray.runners.doctor import Finding
    from nnray.runners.folder import RunFolder
    from nnray.runners.results import RunResult
    from nnray.runners.submit import Job, Jobs
    from nnray.runners.sweep import SweepResult
    from nnray.runners.sync import Synced

Source = Experiment | str | Path
"""An experiment, or the file that holds one."""


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file.

    The folder of the file, and the working folder, go onto ``sys.path``, so that the file may
    name functions in modules beside it. Nothing is imported yet.

    Args:
        path: A YAML file.
        overrides: ``path.to.field=value`` each, the value written as in YAML.

    Raises:
        ConfigError: With everything that is wrong in it.
    """
    search_modules([Path(path).absolute().parent, Path.cwd()])
    return config.load(path, overrides)


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

    resolved = _resolve(experiment, overrides)
    prepare_store(resolved, Path(resolved.tracking.dir))
    return _train(begin(resolved, "train", once=once, search=_search_path()), quiet=quiet)


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

    resolved = _resolve(experiment, overrides)
    config.require_sweep(resolved)
    files = {}
    if warm_start is not None:
        from nnray.runners.sweep.warm import WARM, gather

        files[WARM] = gather(folder.find(warm_start, root=Path(resolved.tracking.dir)), resolved)
    prepare_store(resolved, Path(resolved.tracking.dir))
    run = begin(resolved, "sweep", once=once, search=_search_path(), files=files)
    return _sweep(run, quiet=quiet)


def resume(
    run: str | None = None,
    *,
    root: str | Path = "runs",
    trials: str | int | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> RunResult | SweepResult:
    """Go on with an interrupted run, exactly where it stood.

    A run that has ended gives its result again; a sweep with more trials than it had goes on.

    Args:
        run: An MLflow run id, or the name or path of a run's folder; None for the newest run.
        root: The folder that holds the runs' folders.
        trials: How many trials a sweep shall have; ``"+20"`` for so many more than it had.
        workers: How many workers a data-parallel run goes on with, where it shall not be as many as before.
        quiet: Show no progress.

    Raises:
        RunError: There is no such run, or it can't be resumed.
    """
    from nnray.runners import folder

    found = folder.last(Path(root)) if run is None else folder.find(run, root=Path(root))
    search_modules([Path(entry) for entry in found.record["search"]])
    is_sweep = found.record["verb"] == "sweep"
    if trials is not None and not is_sweep:
        raise RunError(f"{found.name} is a {found.record['verb']}: only a sweep has trials")
    if workers is not None:
        _change_workers(found, workers)
    prepare_store(found.experiment, found.path.parent)
    if trials is not None:
        from nnray.runners.sweep.extend import extend

        extend(found, trials)
    return _sweep(found, quiet=quiet) if is_sweep else _train(found, quiet=quiet)


def submit(
    verb: str,
    file: str | Path,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    project: str | Path | None = None,
    job: str | None = None,
    env: Sequence[str] = (),
    quiet: bool = False,
) -> Job:
    """Have a cluster train or sweep: the driver runs there, and goes on when this machine is gone.

    The same content again is the same job: one that runs, or has succeeded, is not started again, and
    one that failed or was stopped goes on.

    Args:
        verb: ``train`` or ``sweep``.
        file: The experiment file; the folder you stand in is shipped with it, without what git ignores.
        overrides: As for ``load``.
        address: Of the head's dashboard; as for ``jobs``.
        project: The folder to ship instead.
        job: An id for the job; else one is made of the content.
        env: ``NAME=VALUE`` or ``NAME`` each, for the driver and all workers.
        quiet: Let the driver show no progress.

    Returns:
        The job, which may not have begun; ``jobs().logs(job.id, print)`` watches it.

    Raises:
        ConfigError: The experiment would not run.
        ClusterError: The head can't be reached, does not let you in, or knows another job of this id.
    """
    from nnray.runners import submit as runner

    experiment = load(file, overrides)
    if verb == "sweep":
        config.require_sweep(experiment)
    order = runner.prepare(
        verb,
        Path(file),
        experiment=experiment,
        overrides=overrides,
        project=Path(project) if project else None,
        job=job,
        env=env,
        options=["--json", *(["--quiet"] if quiet else [])],
    )
    if note := runner.store_note(experiment, order.environment):
        say(note)
    found, is_new = jobs(address).submit(order)
    say(found.told(is_new=is_new))
    return found


def jobs(address: str | None = None) -> Jobs:
    """The jobs of a cluster: ``all``, ``status``, ``logs``, ``stop``.

    Args:
        address: Of the head's dashboard, such as ``http://head:8265``; else ``$RAY_API_SERVER_ADDRESS``, else
            this machine's. A token is sent if ``$RAY_AUTH_MODE`` is ``token``, or ``$RAY_AUTH_TOKEN`` or
            ``$RAY_AUTH_TOKEN_PATH`` is set.

    Raises:
        ClusterError: That is no address, or the token can't be read.
    """
    from nnray.runners.submit import Head, Jobs

    return Jobs(Head.find(address))


def doctor(
    *, address: str | None = None, storage: str | None = None, tracking: str | None = None
) -> list[Finding]:
    """Look for what would stop a run: versions, GPUs, disk, memory, store; clocks and ports of a cluster.

    Args:
        address: Of a head's dashboard, to examine that cluster; None for this machine, or the cluster
            that ``$RAY_ADDRESS`` names.
        storage: A folder or URI that all nodes must be able to write.
        tracking: The store; None as for a run there.

    Raises:
        ClusterError: The head can't be reached, or does not let you in.
    """
    if address is None:
        from nnray.runners.doctor import examine

        return examine(storage=storage, tracking=tracking)
    from nnray.runners.doctor.remote import examine_remotely

    given = {"--storage": storage, "--tracking": tracking}
    return examine_remotely(jobs(address), [f"{name}={value}" for name, value in given.items() if value])


def schema() -> dict[str, Any]:
    """The JSON schema of experiment files, for editors."""
    return config.json_schema()


def ui(uri: str | None = None, *, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Open MLflow's UI on the store that runs are recorded in; returns when it is ended.

    Args:
        uri: The store; None for ``$MLFLOW_TRACKING_URI``, else that of the working folder.
        host: Address to listen on.
        port: Port to listen on.

    Raises:
        TrackingError: The port is taken, or the store can't be opened.
    """
    from nnray.tracking.ui import serve

    drain(Path("runs"))
    serve(uri, host=host, port=port)


def sync(root: str | Path = "runs") -> list[Synced]:
    """Send the tracking stores what runs could not: after an outage, or a kill.

    Args:
        root: The folder that holds the runs' folders.

    Returns:
        The runs that had something to send.
    """
    from nnray.runners.sync import sync as send

    return send(Path(root))


def search_modules(folders: Sequence[Path]) -> None:
    """Let experiments name functions in modules that stand in ``folders``."""
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _resolve(experiment: Source, overrides: Sequence[str]) -> Experiment:
    if isinstance(experiment, Experiment):
        return config.override(experiment, overrides) if overrides else experiment
    return load(experiment, overrides)


def _search_path() -> list[str]:
    """Folders that a later process needs to find the user's modules: not Python's own."""
    folders = [Path(entry or Path.cwd()) for entry in sys.path]
    own = (sys.prefix, sys.base_prefix)
    return [str(f) for f in folders if f.is_dir() and not str(f).startswith(own)]


def _change_workers(run: RunFolder, workers: int) -> None:
    """Have a data-parallel run go on with another number of workers."""
    experiment = run.experiment
    if run.record["verb"] != "train" or experiment.parallel is None:
        raise RunError(f"{run.name} was not trained with a parallel section: it has no workers to change")
    run.reconfigure(config.override(experiment, [f"parallel.workers={workers}"]))


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


@contextmanager
def _resumable(run: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C into an interrupt that knows which run to go on with."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        raise Interrupted(run.name) from interrupt
