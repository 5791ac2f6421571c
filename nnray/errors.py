"""The one tree of errors that users of nnray can meet.

Each message says what is wrong, the value, what is allowed and what to do. Fields go to
``super().__init__`` and the text is made in ``__str__``, so that every error pickles and comes
back from a Ray worker as itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


class NnrayError(Exception):
    """Base of all errors that nnray raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an experiment: where, what, and what would be right.

    Args:
        path: Dotted path of the field, such as ``optimizer.lr``; empty for the file as a whole.
        message: What is wrong, the value, what is allowed.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(NnrayError):
    """A bad file or value; collects every problem that was found.

    Args:
        source: The file, or a word for where the values came from.
        problems: All that is wrong, in the order of the file.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {problem}" for problem in self.problems)


class DataError(NnrayError):
    """Missing, corrupt or inconsistent data."""


class IncompatibleModel(NnrayError):
    """Modules that a method can't handle, all of them listed.

    Args:
        method: What was asked for.
        modules: ``name (Class): reason`` for each module.
        advice: What to do instead.
    """

    def __init__(self, method: str, modules: Iterable[str], advice: str) -> None:
        self.method, self.modules, self.advice = method, tuple(modules), advice
        super().__init__(method, self.modules, advice)

    def __str__(self) -> str:
        listed = "\n".join(f"  {module}" for module in self.modules)
        return f"{self.method} can't handle {len(self.modules)} module(s):\n{listed}\n{self.advice}"


class DivergedError(NnrayError):
    """A loss that is not finite.

    Args:
        epoch: Epoch, or federated round, counted from 1.
        step: Optimizer step, counted from 1 over the whole run, or over a client's round; None for none.
        what: The quantity, such as ``training loss``.
        period: What ``epoch`` counts.
    """

    def __init__(
        self,
        epoch: int,
        step: int | None,
        what: str = "training loss",
        period: Literal["epoch", "round"] = "epoch",
    ) -> None:
        self.epoch, self.step, self.what, self.period = epoch, step, what, period
        super().__init__(epoch, step, what, period)

    def __str__(self) -> str:
        by = "" if self.step is None else f", by step {self.step}"
        return (
            f"the {self.what} is not finite in {self.period} {self.epoch}{by}: "
            "lower optimizer.lr, or set training.max_grad_norm"
        )


class ClientFailure(NnrayError):
    """Too few client updates in a round, each failed client named with its cause."""


class CheckpointError(NnrayError):
    """A checkpoint that is unreadable, corrupt or of another version."""


class ClusterError(NnrayError):
    """No connection to the cluster, or a request that can never be placed."""


class TrackingError(NnrayError):
    """The tracking store itself can't be used; only where the user asked for the store."""


class RunError(NnrayError):
    """A run that isn't there, or can't be resumed."""


class UserCodeError(NnrayError):
    """A function of the user's that raised, or returned the wrong thing.

    Args:
        function: Its name as written in the experiment.
        problem: What happened, and what was expected.
    """

    def __init__(self, function: str, problem: str) -> None:
        self.function, self.problem = function, problem
        super().__init__(function, problem)

    def __str__(self) -> str:
        return f"{self.function}: {self.problem}"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a run that can be resumed.

    Args:
        run: The name of its folder.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        super().__init__(run)

    def __str__(self) -> str:
        return f"interrupted: `nnray resume {self.run}` goes on from here"


def in_a_sentence(error: BaseException) -> str:
    """What an error of another library comes down to: its first cause's first sentence, without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or repr(error)
    return re.split(r"\.\s", said.splitlines()[0])[0].rstrip(".")


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """The tail of a message about an unknown name: a near match, then all that is allowed."""
    names = sorted(allowed)
    plain = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), plain, n=1, cutoff=0.6)
    guess = f"did you mean {plain[near[0]]!r}? " if near else ""
    return f"{guess}allowed: {', '.join(names)}" if names else "nothing is allowed here"
