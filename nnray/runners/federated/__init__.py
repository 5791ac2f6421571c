"""Federated training, recorded: in this process or by Ray actors."""

from nnray.runners.federated.start import federate as federate
