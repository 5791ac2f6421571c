"""A smaller model out of a trained one: methods in order, each measured, the last one recorded."""

from __future__ import annotations

from nnray.runners.compression.chain import compress
from nnray.runners.compression.outcome import Compression

__all__ = ["Compression", "compress"]
