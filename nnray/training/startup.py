"""What torch would load at the first step without need: its compiler, which takes seconds.

``torch.optim`` wraps some methods so that ``torch.compile`` leaves them alone, and the wrappers
import the compiler on their first call, compiled or not. A process that compiles nothing can
do without: here the bare methods are called instead. They do the same to the bit.
"""

from __future__ import annotations

import inspect

import torch
import torch._compile
from torch.optim import Optimizer


def spare_compiler_import() -> bool:
    """Have optimizers in this process not import the compiler when they are made, saved or reset.

    The wrapper keeps what it made of a bare method in an attribute of it, and looks there
    first; the bare method itself is put there.

    Returns:
        Whether there were such wrappers; where torch has changed, nothing is done.
    """
    wrappers = [method for method in vars(Optimizer).values() if _is_compiler_guard(method)]
    for wrapper in wrappers:
        bare = inspect.unwrap(wrapper, stop=lambda f: not _is_compiler_guard(f))
        vars(bare).setdefault("__dynamo_disable", bare)
    return bool(wrappers)


def _is_compiler_guard(method: object) -> bool:
    code = getattr(method, "__code__", None)
    return code is not None and hasattr(method, "__wrapped__") and code.co_filename == torch._compile.__file__


def unwrap_step(optimizer: Optimizer) -> None:
    """Have one of torch's own optimizers step without its wrappers.

    They run hooks and look for a compiler, some 20 us a step; nnray sets no hooks.
    """
    bare = inspect.unwrap(type(optimizer).step)

    def step() -> None:
        with torch.no_grad():
            bare(optimizer)

    optimizer.step = step  # type: ignore[method-assign, assignment]
