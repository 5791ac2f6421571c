"""How the training examples are shared out among clients."""
