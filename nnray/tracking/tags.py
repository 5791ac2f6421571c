"""The tags of a run: whose it is, from which code and versions, and on what machine it ran."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

VERSIONED = ("mlflow", "numpy", "optuna", "ray", "torch", "torchvision")
_GIT_TIMEOUT_S = 2.0


def run_tags(seed: int, *, folder: Path | None = None) -> dict[str, str]:
    """All tags of a run, under the names that MLflow's pages look for where it has one.

    Args:
        seed: Of the experiment.
        folder: The user's folder, whose commit is recorded; the working folder, where left out.
    """
    return {
        "mlflow.user": _user(),
        "mlflow.source.name": Path(sys.argv[0]).name or "python",
        "mlflow.source.type": "LOCAL",
        "nnray.seed": str(seed),
        **git_tags(folder or Path.cwd()),
        **version_tags(),
        **machine_tags(),
    }


@functools.cache  # it takes half a second, and packages don't come and go
def environment() -> str:
    """Every installed package with its version, a line each, as ``pip install -r`` reads it."""
    packages = {(d.metadata["Name"] or "", d.version) for d in importlib.metadata.distributions()}
    lines = sorted(f"{name}=={version}" for name, version in packages if name)
    return "".join(f"{line}\n" for line in lines)


def git_tags(folder: Path) -> dict[str, str]:
    """Commit, branch, and whether tracked files differ from it; empty outside a repository."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# ") and line.count(" ") > 1)
    commit = headers.get("branch.oid", "(initial)")
    if commit == "(initial)":
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": headers.get("branch.head", ""),
        "mlflow.source.git.dirty": str(dirty).lower(),
    }


def version_tags() -> dict[str, str]:
    """Versions of Python, nnray and the libraries that results depend on."""
    from nnray import __version__

    return {"version.python": platform.python_version(), "version.nnray": __version__, **_library_versions()}


@cache
def _library_versions() -> dict[str, str]:
    return dict(_installed())


def _installed() -> Iterator[tuple[str, str]]:
    for name in VERSIONED:
        try:
            yield f"version.{name}", importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def machine_tags() -> dict[str, str]:
    """The machine: host, system, CPU and its cores, memory, GPUs."""
    import psutil

    gpus = _gpus()
    return {
        "machine.host": platform.node(),
        "machine.os": platform.platform(),
        "machine.cpu": _cpu(),
        "machine.cores": str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "machine.memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "machine.gpu": ", ".join(gpus) if gpus else "none",
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    models = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
