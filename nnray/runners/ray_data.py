"""Ray Data as nnray uses it: quiet, in order, in bounded memory; and what went wrong below it."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.data import DataContext


def in_order(*, memory_bytes: int) -> DataContext:
    """The settings of a pipeline that keeps the order of its rows, and shows no bars.

    Args:
        memory_bytes: Of the object store, for what is on its way.
    """
    from ray.data import DataContext, ExecutionResources

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray sets defaults that it has deprecated itself
        context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources(object_store_memory=memory_bytes)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return context


def raised_below(error: BaseException) -> BaseException:
    """What a task raised, found below Ray's wrapping."""
    while (inner := getattr(error, "cause", None)) is not None:
        error = inner
    return error
