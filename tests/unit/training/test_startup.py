"""A process that doesn't compile doesn't load the compiler, and trains to the same bits."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from nnray.training.startup import unwrap_step

PROGRAM = """
import sys
import torch
from nnray.training.startup import spare_compiler_import, unwrap_step

assert spare_compiler_import()
weights = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.Adam([{"params": [weights], "lr": 0.5}])
unwrap_step(optimizer)
weights.sum().backward()
optimizer.step()
optimizer.zero_grad()
assert all(abs(w - 0.5) < 1e-6 for w in weights.tolist()), weights
print("torch._dynamo" in sys.modules)
"""


def test_the_first_optimizer_imports_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Adagrad])
def test_a_bare_step_has_the_bits_of_a_wrapped_one(kind: type[Optimizer]) -> None:
    plain, bare = (torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4)) for _ in range(2))
    wrapped, unwrapped = kind([plain], lr=0.1), kind([bare], lr=0.1)
    unwrap_step(unwrapped)
    for weights, optimizer in ((plain, wrapped), (bare, unwrapped)):
        for _ in range(5):
            (weights**2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(plain, bare)
    assert plain.requires_grad
