"""Federated training: clients learn on their own examples, a server joins what they learnt."""
