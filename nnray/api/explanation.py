"""Why a model says what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nnray.api.named import Opening, open_model, root_of
from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.runners.explanation import Chosen, Explanation
    from nnray.runners.results import Result
    from nnray.runners.subject import Part, Subject

FIRST = 6
"""Examples that are explained where nobody says which."""


def explain(
    model: str | Path | Result,
    method: str | Sequence[str] = "integrated_gradients",
    *,
    inputs: str | Path | Sequence[str | Path] = (),
    split: Part = "test",
    index: Sequence[int] = (),
    wrong: int | None = None,
    target: str | None = None,
    resize: bool = False,
    check: bool = True,
    seed: int = 0,
    out: str | Path | None = None,
    **opening: Unpack[Opening],
) -> Explanation:
    """Say which values of inputs a model's answers rest on, in pictures and numbers.

    Args:
        model: A trained model: what training gave, or any name that it has.
        method: Explainers: ``NAME`` or ``NAME:key=value,...``, such as ``shap:samples=64``.
        inputs: Files and folders of pictures, tables or arrays; none: examples of a split.
        split: That examples are of.
        index: Their places in it, from 0; none: the first six.
        wrong: Take instead so many that the model gets wrong with the most confidence.
        target: Class to be explained; None: the one that the model gives each input.
        resize: Whether to scale pictures of another size than the model takes.
        check: Whether to compare with the explanations of a model with random weights.
        seed: Of what explainers draw.
        out: Folder for files; None for a new one below the run's.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        ConfigError: There is no such method, class or layer.
        DataError: Inputs can't be read, or a split has no such examples.
        IncompatibleModel: A method can't explain such a model.
    """
    from nnray.runners import explanation

    methods = explanation.read_methods([method] if isinstance(method, str) else method)
    if sum(map(bool, (inputs, index, wrong is not None))) > 1:
        raise ConfigError("explain", [Problem("", "choose by one of inputs, index and wrong")])
    subject = open_model(model, **opening)
    if inputs:
        paths = [inputs] if isinstance(inputs, str | Path) else inputs
        chosen = explanation.from_files(paths, subject, resize=resize)
    else:
        chosen = _of_split(split, subject, index=index, wrong=wrong)
    return explanation.explain(
        subject,
        chosen,
        methods=methods,
        target=target,
        check=check,
        seed=seed,
        root=root_of(opening),
        out=None if out is None else Path(out),
    )


def _of_split(split: Part, subject: Subject, *, index: Sequence[int], wrong: int | None) -> Chosen:
    from nnray.runners.explanation import from_split, most_wrong

    if wrong is not None:
        return most_wrong(split, subject, count=wrong)
    return from_split(split, subject, index=index or range(min(FIRST, len(subject.examples(split)))))
