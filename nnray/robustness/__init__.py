"""How much a network's inputs may be changed before it is wrong."""
