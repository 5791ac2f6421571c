"""Smaller models out of trained ones: fewer weights, fewer channels, lower ranks, fewer bits."""
