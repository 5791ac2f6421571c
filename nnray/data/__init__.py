"""Data sets, their splits, and the batches that training is fed with."""
