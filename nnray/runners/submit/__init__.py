"""Jobs on a Ray cluster: ship a project, watch it run, from a laptop that may go away."""

from nnray.runners.submit.head import Head
from nnray.runners.submit.jobs import Detached, Job, Jobs, Order
from nnray.runners.submit.order import VERBS, prepare, prepare_doctor, store_note

__all__ = ["VERBS", "Detached", "Head", "Job", "Jobs", "Order", "prepare", "prepare_doctor", "store_note"]
