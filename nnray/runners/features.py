"""What a table's columns are called, in the model's order."""

from __future__ import annotations

from nnray.runners.subject import Subject


def feature_names(subject: Subject) -> tuple[str, ...]:
    """Names of the inputs, by the data or the experiment's ``data.columns``; none where neither has them."""
    count = subject.info.input_shape[0] if len(subject.info.input_shape) == 1 else 0
    columns = subject.info.features or subject.experiment.data.component.kwargs.get("columns") or ()
    if not isinstance(columns, list | tuple) or len(columns) != count:
        return ()
    return tuple(map(str, columns))
