"""Tasks: what is learnt, and the mergeable sums that it is measured by."""
