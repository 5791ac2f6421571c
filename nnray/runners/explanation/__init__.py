"""Explanations of what a trained model says, with pictures and checks."""

from nnray.runners.explanation.chosen import Chosen, from_files, from_split, most_wrong
from nnray.runners.explanation.methods import read_methods
from nnray.runners.explanation.result import Explanation
from nnray.runners.explanation.run import explain

__all__ = ["Chosen", "Explanation", "explain", "from_files", "from_split", "most_wrong", "read_methods"]
