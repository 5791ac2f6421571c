"""Imports a plug-in and calls it; what goes wrong in user code is told as such."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nnray.errors import ConfigError, NnrayError, Problem, UserCodeError
from nnray.registry.checks import POSITIONAL
from nnray.registry.lookup import is_user_code, signature, target
from nnray.registry.signatures import RUNTIME, adapter
from nnray.registry.source import Unreadable, find_file

EXPECTED: Mapping[str, str] = {
    "dataset": "DataSplits, or {'train': (x, y), 'test': (x, y)}",
    "augmentation": "a function of (inputs, targets, rng) that returns inputs and targets",
    "model": "a torch.nn.Module",
    "task": "a Task",
    "loss": "a function of (model, inputs, targets) that returns outputs and the mean loss",
    "optimizer": "a torch.optim.Optimizer",
    "schedule": "a Schedule",
    "partition": "a Partition",
    "sampler": "the numbers of the chosen clients",
    "strategy": "a Strategy",
    "device": "Devices",
    "aggregator": "an Aggregator",
    "client_attack": "an Attack",
    "codec": "a Codec",
    "explainer": "an Explainer",
    "compressor": "a Compressor",
    "attack": "an Attack",
    "corruption": "a Corruption",
}


def resolve(kind: str, name: str, *, search: Sequence[str] = ()) -> Callable[..., Any]:
    """Import the function that a name stands for.

    Raises:
        ConfigError: There is no such plug-in, or a package it needs is not installed.
        UserCodeError: The user's module raises on import, or doesn't define the function.
    """
    try:
        module, _, function = target(kind, name).partition(":")
        if is_user_code(name):
            return _user_function(name, module, function, search)
    except Unreadable as error:
        raise ConfigError(f"{kind} {name}", [Problem("", str(error))]) from None
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        advice = f"needs the package {error.name!r}, which is not installed: pip install {error.name}"
        raise ConfigError(f"{kind} {name}", [Problem("", advice)]) from error
    return found


class Named(Protocol):
    """A component: a name, and the keys beside it."""

    @property
    def name(self) -> str:
        """Of the plug-in."""

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keys."""


def build(
    kind: str, component: Mapping[str, Any] | Named, *args: Any, search: Sequence[str] = (), **runtime: Any
) -> Any:
    """Call a plug-in with its keys of the file and with what only the run knows.

    Args:
        kind: Kind of plug-in.
        component: ``name`` and the keys beside it, already checked.
        args: What nnray gives by position, such as the data's info for a model.
        search: Further folders to find user code in.
        runtime: What nnray gives by name; those in ``RUNTIME`` only where the plug-in takes them.

    Raises:
        UserCodeError: The user's function raised.
        ConfigError: There is no such plug-in.
    """
    return bind(kind, component, search=search)(*args, **runtime)


def bind(
    kind: str, component: Mapping[str, Any] | Named, *, search: Sequence[str] = ()
) -> Callable[..., Any]:
    """A plug-in with its keys of the file, to be called any number of times with what only the run knows.

    Args:
        kind: As for ``build``, like the rest.
        component: Name and keys.
        search: Further folders.

    Raises:
        ConfigError: There is no such plug-in.
    """
    if isinstance(component, Mapping):
        name, keys = component["name"], {key: value for key, value in component.items() if key != "name"}
    else:
        name, keys = component.name, dict(component.kwargs)
    function = resolve(kind, name, search=search)
    keys = _typed(kind, name, keys, search)

    def call(*args: Any, **runtime: Any) -> Any:
        given = {
            key: value for key, value in runtime.items() if key not in RUNTIME or _accepts(function, key)
        }
        if not is_user_code(name):
            return function(*args, **keys, **given)
        try:
            return function(*args, **keys, **given)
        except NnrayError:
            raise
        except Exception as error:
            raise _raised(kind, name, {**keys, **given}, error) from error

    return call


def _raised(kind: str, name: str, keys: Mapping[str, Any], error: Exception) -> UserCodeError:
    given = ", ".join((*POSITIONAL.get(kind, ()), *(f"{key}={value!r}" for key, value in keys.items())))
    expected = EXPECTED.get(kind, "a value")
    return UserCodeError(name, f"raised {_told(error)} for ({given}); expected {expected}")


def _user_function(name: str, module: str, function: str, search: Sequence[str]) -> Callable[..., Any]:
    _extend_path(module, search)
    try:
        found = getattr(importlib.import_module(module), function, None)
    except NnrayError:
        raise
    except Exception as error:
        raise UserCodeError(name, f"importing {module} raised {_told(error)}") from error
    if not callable(found):
        what = "defines no such name" if found is None else f"has a {type(found).__name__} there"
        raise UserCodeError(name, f"{module} {what}; a function is needed")
    return found  # type: ignore[no-any-return]


def _extend_path(module: str, search: Sequence[str]) -> None:
    """Have Python find what the check of the file found, without shadowing anything."""
    path = find_file(module, search=search)
    for folder in (Path(entry).absolute() for entry in (*search, ".") if path):
        known = {Path(root).absolute() for root in sys.path}
        if path and folder not in known and path.absolute().is_relative_to(folder):
            sys.path.append(str(folder))
    importlib.invalidate_caches()


def _typed(kind: str, name: str, keys: dict[str, Any], search: Sequence[str]) -> dict[str, Any]:
    """The keys as the signature declares them, such as tuples where YAML has lists."""
    try:
        known = signature(kind, name, search=search).parameters
    except ConfigError:
        return keys
    return {
        key: adapter(known[key]).validate_python(value) if key in known else value
        for key, value in keys.items()
    }


def _accepts(function: Callable[..., Any], key: str) -> bool:
    try:
        taken = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return key in taken or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values())


def _told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {last[0].filename}:{last[0].lineno}" if last else ""
    return f"{type(error).__name__}: {error}{where}"
