"""Classes or numbers for new inputs and what comes after series, from files to files."""

from nnray.runners.prediction.ahead import goes_on, predict_ahead, require_none_asked
from nnray.runners.prediction.answers import Answers, Numbers
from nnray.runners.prediction.run import Predictions, predict

__all__ = [
    "Answers",
    "Numbers",
    "Predictions",
    "goes_on",
    "predict",
    "predict_ahead",
    "require_none_asked",
]
