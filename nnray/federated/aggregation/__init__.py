"""Rules that make one update of many, some of which may be lies."""
