"""Differential privacy of single examples: DP-SGD (Abadi et al. 2016)."""
