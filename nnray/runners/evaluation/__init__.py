"""Measuring a trained model on labelled examples: figures, intervals, pictures, and a card."""

from nnray.runners.evaluation.run import Evaluated, Request, evaluate_model

__all__ = ["Evaluated", "Request", "evaluate_model"]
