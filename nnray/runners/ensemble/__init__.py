"""``nnray ensemble``: several trained models made into one."""

from nnray.runners.ensemble.combining import RULES
from nnray.runners.ensemble.outcome import EnsembleOutcome
from nnray.runners.ensemble.run import Rule, ensemble

__all__ = ["RULES", "EnsembleOutcome", "Rule", "ensemble"]
