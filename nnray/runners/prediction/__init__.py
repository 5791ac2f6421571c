"""Classes for new inputs, from files to files."""

from nnray.runners.prediction.answers import Answers
from nnray.runners.prediction.run import Predictions, predict

__all__ = ["Answers", "Predictions", "predict"]
