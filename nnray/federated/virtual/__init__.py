"""Federated training in virtual time: how long a run would take on the devices of its clients."""
