"""From an experiment file to what a cluster is asked to run.

The upload is unpacked in a folder that Ray removes some day. What has to stay (runs, and the store where
none is named) is kept on the head, in ``$NNRAY_HOME``, else ``~/nnray``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from nnray.config import Experiment
from nnray.errors import ClusterError, ConfigError, Problem, suggestion
from nnray.runners.submit.bundle import pack
from nnray.runners.submit.jobs import Order
from nnray.runners.submit.project import gather, list_files
from nnray.tracking.store import sqlite_file

VERBS = ("federate", "sweep", "train")
_STOP_WAIT_S = "60"
"""How long Ray waits for a driver that was told to stop; by default it is killed after 3 s."""
_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|(^|_)KEY($|_)", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,149}")


def prepare(
    verb: str,
    file: Path,
    *,
    experiment: Experiment,
    overrides: Sequence[str] = (),
    project: Path | None = None,
    job: str | None = None,
    env: Sequence[str] = (),
    options: Sequence[str] = (),
) -> Order:
    """Gather all that a job needs.

    Args:
        verb: ``train`` or ``sweep``.
        file: The experiment file.
        experiment: What that says, overrides included.
        overrides: As on the command line.
        project: The folder to ship; else the working folder if the file is in it, else the file's.
        job: An id; else one is made of the content.
        env: ``NAME=VALUE`` or ``NAME`` each, for the driver and all workers.
        options: Of the verb, such as ``--quiet``; they change nothing of what comes out.

    Raises:
        ClusterError: It can't be shipped, with what to do.
        ConfigError: The experiment would not run, or not be recorded, on a cluster.
    """
    if verb not in VERBS:
        raise ClusterError(f"can't submit {verb!r}: {suggestion(verb, VERBS)}")
    if job is not None and not _ID.fullmatch(job):
        raise ClusterError(f"--id {job!r}: allowed are letters, digits, '_' and '-', a letter or digit first")
    _check_store(experiment, str(file))
    root = find_root(file, project)
    bundle = pack(gather(root, file.resolve(), experiment=experiment))
    words = [verb, file.resolve().relative_to(root).as_posix(), *overrides]
    variables = read_env(env)
    content = json.dumps([words, variables, bundle.digest], sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    name = job or f"{experiment.name.replace('.', '-')}-{verb}-{digest[:10]}"
    return Order(
        id=name,
        command=shlex.join(words),
        digest=digest,
        entrypoint=entrypoint([*words, *options, "--once", name], experiment=experiment),
        package=bundle.name,
        data=bundle.data,
        environment={"RAY_JOB_STOP_WAIT_TIME_S": _STOP_WAIT_S, **variables},
    )


def find_root(file: Path, project: Path | None) -> Path:
    """The folder that is shipped; relative paths of the experiment start there, as they do here.

    Raises:
        ClusterError: The file is not in it.
    """
    path = file.resolve()
    if project is None:
        here = Path.cwd().resolve()
        return here if path.is_relative_to(here) else path.parent
    root = project.resolve()
    if not path.is_relative_to(root):
        raise ClusterError(f"{file} is not in the project's folder {project}: give one that holds it")
    return root


def prepare_doctor(options: Sequence[str]) -> Order:
    """What has a cluster examined from its head; each time anew.

    Args:
        options: Of ``nnray doctor``.
    """
    package = Path(__file__).parents[2]
    bundle = pack({f"nnray/{name}": package / name for name in list_files(package)})
    name = f"doctor-{secrets.token_hex(5)}"
    words = ["doctor", *options]
    return Order(
        id=name,
        command=shlex.join(words),
        digest=name,
        entrypoint=_line(words),
        package=bundle.name,
        data=bundle.data,
        environment={},
    )


def entrypoint(words: Sequence[str], *, experiment: Experiment) -> str:
    """The line for the head's shell, which knows its own home."""
    runs = PurePosixPath(experiment.tracking.dir)
    where = "" if runs.is_absolute() else f' tracking.dir="$NNRAY_HOME"/{shlex.quote(str(runs))}'
    return _line(words) + where


def _line(words: Sequence[str]) -> str:
    store = "${MLFLOW_TRACKING_URI:-sqlite:///$NNRAY_HOME/mlflow.db}"
    steps = [
        'export NNRAY_HOME="${NNRAY_HOME:-$HOME/nnray}"',
        'mkdir -p "$NNRAY_HOME"',
        f'export MLFLOW_TRACKING_URI="{store}"',
        f"exec python -m nnray.cli {shlex.join(words)}",
    ]
    return " && ".join(steps)


def read_env(given: Sequence[str]) -> dict[str, str]:
    """Variables for a job: ``NAME=VALUE``, or ``NAME`` for the value that it has here.

    Raises:
        ClusterError: Not a name, not set, or a secret: everyone who may list jobs sees these.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ClusterError(f"--env {name!r}: give NAME=VALUE, or NAME for the value that it has here")
        if _SECRET.search(name) or re.search(r"://[^/@\s]*:[^/@\s]*@", value or os.environ.get(name, "")):
            raise ClusterError(
                f"--env {name}: a secret would be shown to all who can list jobs: set it on the cluster's "
                "nodes instead"
            )
        if not equals and name not in os.environ:
            raise ClusterError(f"--env {name}: is not set here: give {name}=VALUE")
        found[name] = value if equals else os.environ[name]
    return found


def store_note(experiment: Experiment, env: Mapping[str, str]) -> str:
    """What to tell someone whose own store a job will not write to; empty if there is nothing to tell."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or experiment.tracking.uri or "MLFLOW_TRACKING_URI" in env:
        return ""
    return (
        "note: MLFLOW_TRACKING_URI is not passed on, the cluster's own store is used; "
        "--env MLFLOW_TRACKING_URI passes it"
    )


def _check_store(experiment: Experiment, source: str) -> None:
    uri = experiment.tracking.uri
    if uri and sqlite_file(uri) is not None and not uri.split("///", 1)[1].startswith("/"):
        message = (
            f"{uri!r} is a file in a folder that goes with the job: give a server, an absolute path on the "
            "head, or nothing, for the cluster's own"
        )
        raise ConfigError(source, [Problem("tracking.uri", message)])
