"""The experiment file: read, checked as a whole, written back."""

from __future__ import annotations

from nnray.config.components import Component
from nnray.config.conditions import active, in_order, is_active
from nnray.config.dump import dump
from nnray.config.experiment import Experiment
from nnray.config.expressions import Constraint
from nnray.config.federated import FederatedConfig
from nnray.config.federated_parts import (
    AsynchronousConfig,
    AttackConfig,
    SecureConfig,
    SiteConfig,
    TargetConfig,
)
from nnray.config.load import (
    load,
    override,
    parse,
    require_examples_private,
    require_federated,
    require_sweep,
    require_validation,
    with_overrides,
)
from nnray.config.privacy import PrivacyConfig
from nnray.config.ranges import Range
from nnray.config.schema import json_schema
from nnray.config.sections import (
    MEASURES,
    DataConfig,
    EarlyStopping,
    ParallelConfig,
    SweepConfig,
    TrackingConfig,
    TrainingConfig,
)
from nnray.config.tree import flatten

__all__ = [
    "MEASURES",
    "AsynchronousConfig",
    "AttackConfig",
    "Component",
    "Constraint",
    "DataConfig",
    "EarlyStopping",
    "Experiment",
    "FederatedConfig",
    "ParallelConfig",
    "PrivacyConfig",
    "Range",
    "SecureConfig",
    "SiteConfig",
    "SweepConfig",
    "TargetConfig",
    "TrackingConfig",
    "TrainingConfig",
    "active",
    "dump",
    "flatten",
    "in_order",
    "is_active",
    "json_schema",
    "load",
    "override",
    "parse",
    "require_examples_private",
    "require_federated",
    "require_sweep",
    "require_validation",
    "with_overrides",
]
