"""The verbs, as functions: nouns go in, nouns come out, so that they compose.

exp = nnray.load("jobs/digits.yaml")
best = nnray.sweep(exp).best
nnray.train(best)
"""

from __future__ import annotations

from nnray.api.cluster import doctor, jobs, submit
from nnray.api.compression import compress
from nnray.api.ensembles import ensemble
from nnray.api.evaluation import evaluate
from nnray.api.experiments import Source, load, schema, search_modules
from nnray.api.explanation import explain
from nnray.api.exporting import export
from nnray.api.prediction import predict
from nnray.api.privacy import privacy
from nnray.api.registering import list_models, promote
from nnray.api.reporting import report
from nnray.api.reports import compare, report_partition
from nnray.api.robustness import attack
from nnray.api.serving import serve
from nnray.api.store import sync, ui
from nnray.api.training import federate, resume, sweep, train
from nnray.registry.listing import entries, kinds
from nnray.registry.manual import describe

__all__ = [
    "Source",
    "attack",
    "compare",
    "compress",
    "describe",
    "doctor",
    "ensemble",
    "entries",
    "evaluate",
    "explain",
    "export",
    "federate",
    "jobs",
    "kinds",
    "list_models",
    "load",
    "predict",
    "privacy",
    "promote",
    "report",
    "report_partition",
    "resume",
    "schema",
    "search_modules",
    "serve",
    "submit",
    "sweep",
    "sync",
    "train",
    "ui",
]
