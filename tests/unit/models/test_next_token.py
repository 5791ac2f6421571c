"""Models of the next token: against slow oracles, parameter by parameter, and by what they learn by heart."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.next_token import char_lstm, gpt
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.language import language

PLACES, TOKENS = 7, 9
INFO = DataInfo(
    "plays",
    (PLACES,),
    tuple("_abcdefgh"),
    vocabulary=TOKENS,
    targets="classes",
    target_shape=(PLACES,),
)
MODELS = pytest.mark.parametrize("make", [char_lstm, gpt])


def texts(count: int, *, places: int = PLACES) -> Tensor:
    return torch.randint(1, TOKENS, (count, places), generator=torch_rng(0, "texts"))


def layer_norm(x_D: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x_D - x_D.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * norm.weight + norm.bias


def attended(block: Any, before_TD: list[Tensor]) -> Tensor:
    """What the last of some places gets of them all, head by head, by the formula."""
    rows = [block.qkv(layer_norm(x_D, block.norm1)).chunk(3) for x_D in before_TD]
    width = len(before_TD[0]) // block.heads
    parts = []
    for head in range(block.heads):
        own = slice(head * width, (head + 1) * width)
        query = rows[-1][0][own]
        scores = torch.stack([query @ key[own] / math.sqrt(width) for _, key, _ in rows])
        shares = scores.exp() / scores.exp().sum()
        parts.append(sum(share * value[own] for share, (_, _, value) in zip(shares, rows, strict=True)))
    mixed: Tensor = block.mixed(torch.cat(parts))
    return mixed


def passed(block: Any, x_TD: list[Tensor]) -> list[Tensor]:
    """A block, place by place: each is given only what came before it."""
    mixed_TD = [x_TD[t] + attended(block, x_TD[: t + 1]) for t in range(len(x_TD))]
    inner = [block.wide(layer_norm(x_D, block.norm2)) for x_D in mixed_TD]
    smooth = [0.5 * h * (1 + torch.erf(h / math.sqrt(2))) for h in inner]
    return [x_D + block.narrow(h) for x_D, h in zip(mixed_TD, smooth, strict=True)]


@torch.no_grad()
def test_gpt_is_attention_to_what_came_before_by_the_formula() -> None:
    with torch_seeded(0, "model"):
        model: Any = gpt(INFO, width=6, heads=2, layers=2, dropout=0.3).double().eval()
    (ids_T,) = texts(1, places=5)
    x_TD = [model.embedding.table.weight[i] + model.places[t] for t, i in enumerate(ids_T)]
    for block in model.blocks:
        x_TD = passed(block, x_TD)
    wanted = torch.stack([model.output(layer_norm(x_D, model.norm)) for x_D in x_TD], dim=1)
    torch.testing.assert_close(model(ids_T[None])[0], wanted)


@torch.no_grad()
def test_char_lstm_is_torch_s_own_with_an_embedding_and_a_layer() -> None:
    with torch_seeded(0, "model"):
        model: Any = char_lstm(INFO, embedding=4, hidden=5, layers=2, dropout=0.3).eval()
    oracle = nn.LSTM(4, 5, num_layers=2, batch_first=True)
    for number, layer in enumerate(model.reader.onward):
        oracle.load_state_dict({f"{k}_l{number}": v for k, v in layer.state_dict().items()}, strict=False)
    ids_BT = texts(3)
    states_BTD, _ = oracle(model.embedding.table.weight[ids_BT])
    torch.testing.assert_close(model(ids_BT), model.output(states_BTD).transpose(1, 2))


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_as_many_as_published_formulas_say() -> None:
    wide, layers = 8, 3
    blocks = layers * (12 * wide**2 + 13 * wide)  # Radford et al.: 12 layers of 768 have 85 million
    ends = TOKENS * wide + PLACES * wide + 2 * wide + (wide + 1) * TOKENS
    assert size(gpt(INFO, width=wide, heads=2, layers=layers)) == blocks + ends
    gates = 4 * (8 * 256 + 256 * 256 + 2 * 256) + 4 * (2 * 256 * 256 + 2 * 256)  # McMahan et al.: 8, 256, 256
    model = char_lstm(INFO, embedding=8, hidden=256, layers=2)
    assert size(model) == gates + 8 * TOKENS + 257 * TOKENS


@MODELS
def test_a_text_may_be_shorter_than_those_learnt_from(make: Any) -> None:
    with torch_seeded(0, "model"):
        model = make(INFO, dropout=0.4).eval()
    ids_BT = texts(2)
    torch.testing.assert_close(model(ids_BT[:, :3]), model(ids_BT)[:, :, :3])


@MODELS
def test_it_learns_texts_by_heart(make: Any) -> None:
    with torch_seeded(0, "model"):
        model = make(INFO, dropout=0.0, **({"width": 32} if make is gpt else {"hidden": 32}))
    ids_BT = texts(4, places=PLACES + 1)
    inputs, targets, task = ids_BT[:, :-1], ids_BT[:, 1:].contiguous(), language(INFO)
    targets[:, 0] = -100  # two texts may begin alike
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(50):
        optimizer.zero_grad()
        loss: Any = task.loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
    assert float(task.loss(model(inputs), targets).detach()) < 0.1 < math.log(TOKENS)


@MODELS
def test_other_targets_than_the_next_tokens_are_refused(make: Any) -> None:
    shorter = DataInfo("tags", (7,), ("a", "b"), vocabulary=9, targets="classes", target_shape=(3,))
    with pytest.raises(
        DataError, match=r"data set tags asks for classes of shape \[3\]: use a model such as"
    ):
        make(shorter)
