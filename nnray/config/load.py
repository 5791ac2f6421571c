"""From a file, a mapping or an experiment with changes to a checked experiment."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnray import registry
from nnray.config.experiment import Experiment
from nnray.config.federated import FederatedConfig
from nnray.config.overrides import apply, read_overrides
from nnray.config.reader import MAX_BYTES, read_yaml
from nnray.config.sections import SweepConfig, TrainingConfig
from nnray.config.tree import to_tree
from nnray.errors import ConfigError, Problem


def load(path: str | Path, overrides: Sequence[str] = (), *, search: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file.

    Args:
        path: A YAML file.
        overrides: ``path.to.field=value`` each, the value written as in YAML.
        search: Further folders to find user code in.

    Raises:
        ConfigError: With everything that is wrong in it.
    """
    source = str(path)
    tree, problems = read_yaml(_read_text(Path(path)), source=source)
    if tree is None:
        raise ConfigError(source, [Problem("", "is empty: an experiment has at least name, data and model")])
    return _made(tree, overrides, source=source, search=search, problems=problems)


def parse(
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    source: str = "experiment",
    search: Sequence[str] = (),
) -> Experiment:
    """Check an experiment given as plain values.

    Args:
        values: What a file would hold.
        overrides: As for `load`.
        source: Where the values come from, for messages.
        search: Further folders to find user code in.

    Raises:
        ConfigError: With everything that is wrong.
    """
    return _made(values, overrides, source=source, search=search, problems=[])


def with_overrides(
    experiment: Experiment, values: Mapping[str, Any], *, search: Sequence[str] = ()
) -> Experiment:
    """A copy of an experiment with fields set, checked as a whole.

    A component whose name is set keeps those of its keys that it takes under the new name.

    Args:
        experiment: It stays as it is.
        values: Plain values by dotted path, such as ``{"optimizer.lr": 1e-3}``.
        search: Further folders to find user code in.

    Raises:
        ConfigError: With everything that is wrong.
    """
    plain = {path: _python_scalar(value) for path, value in values.items()}
    tree, problems = apply(to_tree(experiment, defaults=False), plain, search=search, drop_unknown=True)
    return _checked(tree, source="overrides", search=search, problems=problems, paths=tuple(values))


def override(experiment: Experiment, overrides: Sequence[str], *, search: Sequence[str] = ()) -> Experiment:
    """A copy of an experiment with fields set as on the command line.

    Args:
        experiment: It stays as it is.
        overrides: As for `load`.
        search: Further folders to find user code in.

    Raises:
        ConfigError: With everything that is wrong.
    """
    tree = to_tree(experiment, defaults=False)
    return _made(tree, overrides, source=experiment.name, search=search, problems=[])


def require_sweep(experiment: Experiment) -> SweepConfig:
    """The experiment's sweep section.

    Raises:
        ConfigError: It has none.
    """
    if experiment.sweep is None:
        example = "sweep: {space: {optimizer.lr: {loguniform: [1e-4, 0.1]}}}"
        message = f"is missing: say what to search, such as {example}"
        raise ConfigError(experiment.name, [Problem("sweep", message)])
    return experiment.sweep


def require_federated(experiment: Experiment) -> FederatedConfig:
    """The experiment's federated section.

    Raises:
        ConfigError: It has none, or the file asks for what clients can't do.
    """
    if experiment.federated is None:
        message = "is missing: say who trains, such as federated: {clients: 100, cohort: 10}"
        raise ConfigError(experiment.name, [Problem("federated", message)])
    if wrong := list(_not_for_clients(experiment)):
        raise ConfigError(experiment.name, wrong)
    return experiment.federated


def _not_for_clients(experiment: Experiment) -> Iterator[Problem]:
    """What a file may ask of ``train`` and clients don't do: told, rather than passed over."""
    if experiment.data.stream:
        yield Problem("data.stream", "clients' examples are drawn by their number: set data.stream=false")
    for name in ("accumulate", "compile", "early_stopping", "ema_decay", "length_buckets", "precision"):
        value, default = getattr(experiment.training, name), TrainingConfig.model_fields[name].default
        if value != default:
            plain = registry.shown(default).strip("'")
            message = f"is for train alone (got {registry.shown(value)}): set training.{name}={plain}"
            yield Problem(f"training.{name}", message)


def require_validation(experiment: Experiment) -> None:
    """Refuse to choose epochs or trials by a validation split that there is none of.

    Raises:
        ConfigError: ``data.validation`` is 0.
    """
    if not experiment.data.validation:
        message = "is 0, which only federate can do without: hold out a part, such as data.validation=0.1"
        raise ConfigError(experiment.name, [Problem("data.validation", message)])


def require_examples_private(experiment: Experiment) -> None:
    """Refuse to train one network on all examples with privacy that is for clients.

    Raises:
        ConfigError: ``privacy.unit`` is client.
    """
    if experiment.privacy is not None and experiment.privacy.unit == "client":
        message = (
            "is 'client', and training on all examples in one place has none: run nnray federate, or a sweep "
            "with sweep.of=federate; or protect each example, by privacy.unit=example"
        )
        raise ConfigError(experiment.name, [Problem("privacy.unit", message)])


def _made(
    tree: Any, overrides: Sequence[str], *, source: str, search: Sequence[str], problems: list[Problem]
) -> Experiment:
    if not isinstance(tree, Mapping):
        message = f"must be a mapping with name, data, model and so on (got {registry.shown(tree)})"
        raise ConfigError(source, [*problems, Problem("", message)])
    values, unreadable = read_overrides(overrides)
    tree, misplaced = apply(tree, values, search=search)
    problems = [*problems, *unreadable, *misplaced]
    return _checked(tree, source=source, search=search, problems=problems, paths=tuple(values))


def _checked(
    tree: Any, *, source: str, search: Sequence[str], problems: list[Problem], paths: Sequence[str]
) -> Experiment:
    try:
        made = Experiment.model_validate(tree, context={"search": tuple(search)})
    except ConfigError as error:
        found = [_credited(problem, paths) for problem in error.problems]
        raise ConfigError(source, [*problems, *found]) from None
    if problems:
        raise ConfigError(source, problems)
    return made


def _credited(problem: Problem, paths: Sequence[str]) -> Problem:
    """Say so where a problem comes from an override, for the file may be fine."""
    near = [path for path in paths if f"{problem.path}.".startswith(f"{path}.")]
    return (
        Problem(problem.path, f"{problem.message} [set by the override of {near[-1]}]") if near else problem
    )


def _python_scalar(value: Any) -> Any:
    """A Python number for a NumPy one, as searchers may give it."""
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def _read_text(path: Path) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(handle, "rb") as file:  # noqa: PTH123 - a handle, not a path
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(str(path), [Problem("", "is not a file: name a YAML file")])
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), [Problem("", _told(path, error))]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            str(path), [Problem("", f"is too large: an experiment has at most {MAX_BYTES:,} bytes")]
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = (
            f"is not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}; save it as UTF-8"
        )
        raise ConfigError(str(path), [Problem("", message)]) from None


def _told(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no such file{_nearby(path)}"
    if isinstance(error, IsADirectoryError):
        return f"is a folder; name a YAML file{_nearby(path / 'x.yaml')}"
    return f"can't be read: {error.strerror if isinstance(error, OSError) else error}"


def _nearby(path: Path) -> str:
    try:
        there = sorted(entry.name for entry in path.parent.glob("*.y*ml"))
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, there, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"{guess}; there are {', '.join(there[:20])}" if there else ""
