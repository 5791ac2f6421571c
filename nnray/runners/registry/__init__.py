"""The registered models: listed, and the best one pointed to."""
