"""Freezing: some layers stay as they are, their running statistics included, while others learn."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnray.errors import ConfigError, Problem, suggestion
from nnray.models.preprocess import Preprocessed


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Keep parameters as they are; layers of batch norm that keep all of theirs keep their statistics too.

    Args:
        model: Changed in place.
        patterns: Of names of parameters, as a shell's.

    Raises:
        ConfigError: A pattern matches nothing, or nothing is left to train.
    """
    named = dict(model.named_parameters())
    frozen = matching(named, patterns, path="model.freeze")
    if frozen and frozen == set(named):
        raise ConfigError("this experiment", [Problem("model.freeze", "leaves nothing to train: match less")])
    for name in frozen:
        named[name].requires_grad_(False)
    if isinstance(model, Preprocessed):
        model.held = tuple(name for name, part in model.named_modules() if _is_held(part))


def matching(names: Iterable[str], patterns: Sequence[str], *, path: str) -> set[str]:
    """The names that any of some patterns match.

    Args:
        names: All that there are.
        patterns: As a shell's; an exact name is one.
        path: Of the field that they stand in.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    known = list(names)
    found = {pattern: fnmatch.filter(known, pattern) for pattern in patterns}
    problems = [
        Problem(path, f"the pattern {pattern!r} matches no parameter: {suggestion(pattern, known)}")
        for pattern, matched in found.items()
        if not matched
    ]
    if problems:
        raise ConfigError("this experiment", problems)
    return {name for matched in found.values() for name in matched}


def _is_held(part: nn.Module) -> bool:
    own = list(part.parameters(recurse=False))
    return isinstance(part, _BatchNorm) and bool(own) and not any(p.requires_grad for p in own)
