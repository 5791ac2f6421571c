"""The algorithms of federated learning, each in a file of its own."""
