"""What hostile clients do, to test what robust rules are worth."""
