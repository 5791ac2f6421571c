"""Data-parallel training on Ray Train: one network, several processes, on one machine or many."""

from nnray.runners.parallel.start import train as train
