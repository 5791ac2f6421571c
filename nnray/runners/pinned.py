"""Trained models that an experiment begins with, or learns from: found once, before the run begins.

What a name such as ``digits@champion`` means changes as time goes by. So the files that it means now are
copied beside the runs, under the SHA-256 of their weights, and the experiment goes on with that folder: every
process of the run, and whoever resumes it, reads the same weights, and none of them asks the store.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path

from nnray.assembly.described import ABOUT, WEIGHTS
from nnray.config import Experiment, flatten, with_overrides
from nnray.errors import RunError
from nnray.runners import origins
from nnray.runners.origins import Found

_KEYS = ("model.init_from", "loss.teacher")
"""Where an experiment names a trained model."""
MODELS = "models"
"""The folder of pinned models, beside the runs' folders."""


def pinned(experiment: Experiment) -> Experiment:
    """The experiment with each model that it names replaced by the folder of a copy.

    Raises:
        RunError: There is no such model, or it is not opened, with the reason.
        TrackingError: The store can't be asked.
    """
    values = flatten(experiment)
    named = {path: str(values[path]) for path in _KEYS if values.get(path) is not None}
    folders = {path: str(_pin(name, experiment, path=path)) for path, name in named.items()}
    return with_overrides(experiment, folders) if folders else experiment


def _pin(name: str, experiment: Experiment, *, path: str) -> Path:
    root = Path(experiment.tracking.dir).absolute()
    try:
        found = origins.find(name, root=root, tracking=experiment.tracking.uri)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    if found.described is None:
        raise RunError(
            f"{path}: {found.where} doesn't say which network it is: name a model that nnray has trained"
        )
    origins.require_known(found, trust=False)
    return _copied(found, root / MODELS)


def _copied(found: Found, folder: Path) -> Path:
    """The folder of a copy, made whole or not at all; the same files are there once."""
    files = {ABOUT: json.dumps(found.described, indent=1).encode(), WEIGHTS: found.weights}
    target = folder / hashlib.sha256(files[WEIGHTS] + files[ABOUT]).hexdigest()[:16]
    if target.is_dir():
        return target
    aside = folder / f".{target.name}-{secrets.token_hex(4)}.tmp"
    try:
        aside.mkdir(parents=True)
        for name, data in files.items():
            (aside / name).write_bytes(data)
        aside.rename(target)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not target.is_dir():  # else another process was faster
            reason = os.strerror(error.errno or 0)
            raise RunError(f"can't copy {found.where} to {folder}: {reason}; set tracking.dir") from error
    return target
