"""What outputs say, wherever they come from: arrays that workers send can't be written to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from nnray.runners.prediction.answers import Answers, Numbers, answered, bounded


def sent(values: list[list[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.array(values)
    array.setflags(write=False)
    return array


def test_outputs_that_cannot_be_written_to_are_told_as_others() -> None:
    values = [[0.0, np.log(3.0)], [2.0, 2.0]]
    found = answered(["a", "b"], sent(values), classes=("no", "yes"), threshold=None)
    assert isinstance(found, Answers)
    assert found.probabilities == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    again = answered(["a", "b"], np.array(values), classes=("no", "yes"), threshold=None)
    assert isinstance(again, Answers) and np.array_equal(found.probabilities, again.probabilities)


def test_numbers_stay_within_the_bounds_of_their_task() -> None:
    def bound(outputs: Tensor) -> Tensor:
        return outputs.clamp(0.5, 5.0)

    outputs = sent([[7.0], [3.0], [-1.0]])
    told: Any = bounded(SimpleNamespace(bounded=bound), outputs)  # type: ignore[arg-type]
    assert told[:, 0].tolist() == [5.0, 3.0, 0.5]
    assert bounded(SimpleNamespace(), outputs) is outputs  # type: ignore[arg-type]
    numbers = answered(["a", "b", "c"], told, classes=(), threshold=None)
    assert isinstance(numbers, Numbers)
