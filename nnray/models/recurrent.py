"""One recurrent layer in one direction, as torch computes it, that can be exported.

`torch.nn.LSTM` keeps a second list of its weights, which `torch.export` warns of; here there are the weights
alone, under the same names.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Cell = Literal["lstm", "gru"]
_GATES = {"lstm": 4, "gru": 3}


class Recurrent(nn.Module):
    """An LSTM or GRU layer over time.

    Args:
        cell: Which.
        width: Of the inputs.
        hidden: Units.

    Shape:
        ``[B, T, width]`` to the states ``[B, T, hidden]``.
    """

    def __init__(self, cell: Cell, width: int, hidden: int) -> None:
        super().__init__()
        self.cell, self.hidden = cell, hidden
        rows, bound = _GATES[cell] * hidden, hidden**-0.5
        self.weight_ih = nn.Parameter(torch.empty(rows, width).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """States after each step, from a state of zeros."""
        # Not len: an exported model would keep the number of examples.
        begin = x_BTD.new_zeros(1, x_BTD.shape[0], self.hidden)
        weights: list[Tensor] = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        # One layer with biases, no dropout, one direction, batch first.
        options = (True, 1, 0.0, self.training, False, True)
        if self.cell == "gru":
            return torch.gru(x_BTD, begin, weights, *options)[0]
        return torch.lstm(x_BTD, (begin, begin), weights, *options)[0]
