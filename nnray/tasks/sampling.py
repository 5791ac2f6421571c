"""Texts drawn from a model of the next token, one token after the other.

A model sees as many tokens as it learnt from at a time: of a longer text the last ones. What it sees is
filled up to that length, as in training, so a model may be one that takes no other; no place that is asked
sees what comes after it.

Legend: B texts, T places, K tokens.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from nnray.seeding import torch_rng

_PADDING = 0


def sampled(
    model: nn.Module, begins_BT: Tensor, *, count: int, length: int, seed: int, temperature: float = 1.0
) -> Tensor:
    """Go on with texts.

    Args:
        model: Gives logits ``[B, K, T]``; in evaluation mode.
        begins_BT: What each text begins with, at least one token, all of one length.
        count: Tokens to draw for each.
        length: Tokens that the model sees at a time.
        seed: Of the draws.
        temperature: Logits are divided by it, so that below 1 the probable becomes more so; 0 takes the best.

    Returns:
        The tokens drawn, without what fills up.

    Shape:
        ``[B, count] int64``, on the CPU.
    """
    begun = begins_BT.shape[1]
    assert begun and length and temperature >= 0, (begun, length, temperature)
    rng = torch_rng(seed, "language", "sample")
    texts_BT = torch.cat([begins_BT, begins_BT.new_zeros(len(begins_BT), count)], dim=1)
    for end in range(begun, begun + count):
        seen_BT = texts_BT[:, max(0, end - length) : end]
        logits_BK = _next_logits(model, seen_BT, length=length)
        texts_BT[:, end] = _drawn(logits_BK, temperature=temperature, rng=rng).to(texts_BT.device)
    return texts_BT[:, begun:].cpu()


@torch.no_grad()
def _next_logits(model: nn.Module, seen_BT: Tensor, *, length: int) -> Tensor:
    """Of what follows the last place, on the CPU, where draws are the same whatever the device."""
    inputs_BT = seen_BT.new_full((len(seen_BT), length), _PADDING)
    inputs_BT[:, : seen_BT.shape[1]] = seen_BT
    outputs_BKT: Tensor = model(inputs_BT)
    return outputs_BKT[:, :, seen_BT.shape[1] - 1].cpu().double()


def _drawn(logits_BK: Tensor, *, temperature: float, rng: Generator) -> Tensor:
    """A token for each text, never what fills up."""
    logits_BK[:, _PADDING] = -torch.inf
    # So that the largest is 0: no temperature, however low, makes it infinite.
    logits_BK -= logits_BK.amax(1, keepdim=True)
    if temperature == 0:
        return logits_BK.argmax(1)
    return torch.multinomial((logits_BK / temperature).softmax(1), 1, generator=rng)[:, 0]
