"""Train, tune and record neural networks: one experiment file, one loop, one record in MLflow."""

from __future__ import annotations

__version__ = "0.1.0"
