"""Experiments: read, checked, and what they may name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnray import config
from nnray.config import Experiment

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


def schema() -> dict[str, Any]:
    """The JSON schema of experiment files, for editors."""
    return config.json_schema()


def search_modules(folders: Sequence[Path]) -> None:
    """Let experiments name functions in modules that stand in ``folders``."""
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def resolve(experiment: Source, overrides: Sequence[str]) -> Experiment:
    """The experiment that is meant, checked.

    Args:
        experiment: It, or its file.
        overrides: As for ``load``.

    Raises:
        ConfigError: With everything that is wrong.
    """
    if isinstance(experiment, Experiment):
        return config.override(experiment, overrides) if overrides else experiment
    return load(experiment, overrides)


def search_path() -> list[str]:
    """Folders that a later process needs to find the user's modules: not Python's own."""
    folders = [Path(entry or Path.cwd()) for entry in sys.path]
    own = (sys.prefix, sys.base_prefix)
    return [str(f) for f in folders if f.is_dir() and not str(f).startswith(own)]
