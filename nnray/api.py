"""The verbs, as functions: nouns go in, nouns come out, so that they compose.

exp = nnray.load("jobs/digits.yaml")
best = nnray.sweep(exp).best
nnray.train(best)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray import config, registry
from nnray.catalog import CATALOG
from nnray.config import Experiment
from nnray.errors import ConfigError, Interrupted, Problem, RunError, suggestion

if TYPE_CHECKING:
    from nnray.runners.folder import RunFolder
    from nnray.runners.results import RunResult
    from nnray.runners.sweep import SweepResult
    from nnray.runners.sync import Synced
    from nnray.tracking import MlflowTracker

_DRAIN_S = 30.0
"""How long a verb waits for each earlier run whose records have not been sent."""

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


def train(experiment: Source, overrides: Sequence[str] = (), *, quiet: bool = False) -> RunResult:
    """Train one network in this process, and record it.

    Args:
        experiment: What to train.
        overrides: As for ``load``.
        quiet: Show no progress.

    Raises:
        NnrayError: Whatever is wrong, in words.
    """
    from nnray.runners import folder

    resolved = _resolve(experiment, overrides)
    _prepare_store(resolved, Path(resolved.tracking.dir))
    return _train(folder.create(resolved, "train", search=_search_path()), quiet=quiet)


def sweep(
    experiment: Source, overrides: Sequence[str] = (), *, warm_start: str | None = None, quiet: bool = False
) -> SweepResult:
    """Search the experiment's ``sweep.space`` with Ray Tune and Optuna, and record every trial.

    Args:
        experiment: With a ``sweep`` section.
        overrides: As for ``load``.
        warm_start: An earlier sweep, as for ``resume``, whose trials the searcher knows from the start.
        quiet: Show no progress.

    Raises:
        ConfigError: There is no ``sweep`` section.
        RunError: The earlier sweep isn't there, or has nothing that can be used.
        NnrayError: Whatever else is wrong, in words.
    """
    from nnray.runners import folder

    resolved = _resolve(experiment, overrides)
    config.require_sweep(resolved)
    files = {}
    if warm_start is not None:
        from nnray.runners.sweep.warm import WARM, gather

        files[WARM] = gather(folder.find(warm_start, root=Path(resolved.tracking.dir)), resolved)
    _prepare_store(resolved, Path(resolved.tracking.dir))
    return _sweep(folder.create(resolved, "sweep", search=_search_path(), files=files), quiet=quiet)


def resume(
    run: str | None = None, *, root: str | Path = "runs", trials: str | int | None = None, quiet: bool = False
) -> RunResult | SweepResult:
    """Go on with an interrupted run, exactly where it stood.

    A run that has ended gives its result again; a sweep with more trials than it had goes on.

    Args:
        run: An MLflow run id, or the name or path of a run's folder; None for the newest run.
        root: The folder that holds the runs' folders.
        trials: How many trials a sweep shall have; ``"+20"`` for so many more than it had.
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
    _prepare_store(found.experiment, found.path.parent)
    if trials is not None:
        from nnray.runners.sweep.extend import extend

        extend(found, trials)
    return _sweep(found, quiet=quiet) if is_sweep else _train(found, quiet=quiet)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that an experiment may name.

    Args:
        name: As in the file.
        summary: In one line.
        parameters: ``name = default: what it may be. What it does.`` each.
    """

    name: str
    summary: str
    parameters: tuple[str, ...]


def kinds() -> tuple[str, ...]:
    """The kinds of things that an experiment may name, in the plural: ``models``, ..."""
    return tuple(f"{kind}s" for kind in CATALOG)


def entries(kind: str) -> tuple[Entry, ...]:
    """What there is of a kind, with its parameters; nothing is imported for it.

    Args:
        kind: Singular or plural, such as ``models``.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind.removesuffix("s") not in CATALOG:
        raise ConfigError("list", [Problem("", f"no such kind {kind!r}; {suggestion(kind, kinds())}")])
    singular = kind.removesuffix("s")
    return tuple(_entry(singular, name) for name in registry.names(singular))


def _entry(kind: str, name: str) -> Entry:
    parameters = registry.parameters(kind, name).values()
    return Entry(name, registry.summary(kind, name), tuple(_described(p) for p in parameters))


def _described(parameter: registry.Parameter) -> str:
    default = "" if parameter.required else f" = {registry.shown(parameter.default)}"
    return f"{parameter.name}{default}: {registry.describe(parameter.type)}. {parameter.help}"


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

    _drain(Path("runs"))
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


def _train(run: RunFolder, *, quiet: bool) -> RunResult:
    from nnray.runners.display import choose_display
    from nnray.runners.local import train as train_here

    experiment = run.experiment
    with _resumable(run), _tracker(experiment, run) as tracker:
        return train_here(experiment, run, tracker=tracker, display=choose_display(quiet=quiet))


def _sweep(run: RunFolder, *, quiet: bool) -> SweepResult:
    from nnray.runners.sweep import sweep as sweep_here

    experiment = run.experiment
    with _resumable(run), _tracker(experiment, run) as tracker:
        return sweep_here(experiment, run, tracker=tracker, quiet=quiet)


def _prepare_store(experiment: Experiment, root: Path) -> None:
    """Refuse a store that can never be written to, and send it what earlier runs could not.

    One that is merely away holds nothing up: what is recorded waits in the run's folder.
    """
    from nnray.tracking import check

    store = check(experiment.tracking.uri)
    if store.problem:
        _say(f"warning: {store.problem}; records wait in the run's folder, and `nnray sync` sends them")
    else:
        _drain(root)


def _drain(root: Path) -> None:
    """Send what earlier runs could not."""
    from nnray.runners import sync as runner

    if not runner.unsent(root):
        return
    _say("sending what earlier runs could not record ...")
    for synced in runner.sync(root, timeout_s=_DRAIN_S):
        _say(str(synced))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _tracker(experiment: Experiment, run: RunFolder) -> Iterator[MlflowTracker]:
    """The store that an experiment is recorded in, behind the run's spool."""
    from nnray.runners.sync import SPOOL
    from nnray.tracking import DiskSpool, MlflowTracker

    settings, spool = experiment.tracking, DiskSpool(run.path / SPOOL)
    uri = run.record.get("tracking_uri") or settings.uri  # a relative one belongs to where the run began
    try:
        tracker = MlflowTracker(uri, experiment=settings.experiment or experiment.name, spool=spool)
    except BaseException:
        spool.close()
        raise
    try:
        yield tracker
    except BaseException:
        if unsent := tracker.close():
            from nnray.runners.recording import waiting

            _say(f"warning: {waiting(tracker, unsent)}")
        raise
    tracker.close()


@contextmanager
def _resumable(run: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C into an interrupt that knows which run to go on with."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        raise Interrupted(run.name) from interrupt
