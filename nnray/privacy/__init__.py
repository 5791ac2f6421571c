"""Differential privacy: what it costs, and what makes it: noise, clipping, secure sums."""
