"""Sums of what clients send of which nobody sees a summand: secure aggregation as in SecAgg+.

Source: Bonawitz et al., "Practical secure aggregation for privacy-preserving machine learning", 2017; Bell et
al., "Secure single-server aggregation with (poly)logarithmic overhead", 2020, algorithm 2.
"""
