"""Models of texts: what fills up decides nothing, what is read decides, and whom they refuse."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from nnray.catalog import CATALOG
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.models.recurrent import Cell, Recurrent
from nnray.models.text import is_text, last_places, masked_max, masked_mean
from nnray.models.text_rnn import Reader
from nnray.models.transformer import text_transformer
from nnray.seeding import torch_seeded

MODELS = ["embedding_bag", "gru", "lstm", "ngram_bag", "text_cnn", "text_transformer"]
INFO = DataInfo("texts", (10,), ("a", "b", "c"), vocabulary=40)


def made(name: str, info: DataInfo = INFO, **options: Any) -> nn.Module:
    module, _, function = CATALOG["model"][name].partition(":")
    with torch_seeded(3, "init"):
        model = getattr(import_module(module), function)(info, **options)
    assert isinstance(model, nn.Module)
    return model.eval()


def texts(length: int, filled: int) -> torch.Tensor:
    """Four texts, and so many places filled up behind them."""
    ids = torch.randint(1, 40, (4, length), generator=torch.Generator().manual_seed(0))
    return nn.functional.pad(ids, (0, filled))


every_model = pytest.mark.parametrize("name", MODELS)


@every_model
def test_how_far_a_text_is_filled_up_decides_nothing(name: str) -> None:
    short, long = (DataInfo("texts", (size,), ("a", "b"), vocabulary=40) for size in (6, 10))
    one, other = made(name, short), made(name, long)
    state = one.state_dict()
    if "places" in state:
        state["places"] = torch.cat([state["places"], other.state_dict()["places"][6:]])
    other.load_state_dict(state)
    torch.testing.assert_close(other(texts(6, 4)), one(texts(6, 0)), rtol=1e-4, atol=1e-5)


@every_model
def test_every_word_of_a_text_may_decide(name: str) -> None:
    model, ids = made(name), texts(7, 3)
    before = model(ids)
    for place in (0, 3, 6):
        changed = ids.clone()
        changed[:, place] = changed[:, place] % 39 + 1
        assert (model(changed) != before).any(1).all(), place


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_way_to_read_passes_over_what_fills_up(name: str, pooling: str, bidirectional: bool) -> None:
    model = made(name, pooling=pooling, bidirectional=bidirectional, layers=2)
    whole = model(texts(10, 0))
    assert whole.shape == (4, 3)
    torch.testing.assert_close(model(texts(6, 4)), model(nn.functional.pad(texts(6, 0), (0, 4))))
    torch.testing.assert_close(model(texts(6, 4)), model(texts(6, 2)), rtol=1e-4, atol=1e-5)


@every_model
def test_a_text_of_nothing_has_a_finite_answer_and_gradient(name: str) -> None:
    model = made(name)
    logits = model(torch.zeros(2, 10, dtype=torch.int64))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@every_model
def test_images_are_refused(name: str) -> None:
    with pytest.raises(
        DataError, match=rf"model {name} takes tokens .*pictures.*\[1, 8, 8\].*use a data set"
    ):
        made(name, DataInfo("pictures", (1, 8, 8), ("a", "b")))


@every_model
def test_the_next_token_is_not_theirs_to_tell(name: str) -> None:
    info = DataInfo("plays", (8,), ("a", "b"), vocabulary=2, targets="classes", target_shape=(8,))
    with pytest.raises(DataError, match=rf"model {name} gives each text a class, but data set plays"):
        made(name, info)


def test_a_bag_of_words_has_no_order_and_a_cnn_has() -> None:
    ids = texts(7, 3)
    turned = torch.cat([ids[:, :7].flip(1), ids[:, 7:]], dim=1)
    bag, cnn = made("embedding_bag"), made("text_cnn")
    torch.testing.assert_close(bag(turned), bag(ids))
    assert not torch.allclose(cnn(turned), cnn(ids))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_layer_gives_what_torch_s_own_gives(cell: Cell) -> None:
    ours = Recurrent(cell, 5, 7)
    theirs = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](5, 7, batch_first=True)
    theirs.load_state_dict({f"{key}_l0": value for key, value in ours.state_dict().items()})
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x)[0])


def test_both_directions_are_torch_s_on_whole_texts() -> None:
    """Torch's bidirectional layer is the oracle where nothing is filled up."""
    reader = Reader("lstm", 5, 7, both=True)
    theirs = nn.LSTM(5, 7, batch_first=True, bidirectional=True)
    onward, backward = (part[0].state_dict() for part in (reader.onward, reader.backward))
    state = {f"{key}_l0": value for key, value in onward.items()}
    theirs.load_state_dict(state | {f"{key}_l0_reverse": value for key, value in backward.items()})
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reader(x, torch.ones(3, 6).bool()), theirs(x)[0])


def test_heads_share_the_width_evenly() -> None:
    with pytest.raises(ConfigError, match=r"model.width.*got 10 for 4 heads; allowed: a multiple"):
        text_transformer(INFO, width=10, heads=4)


def test_masked_means_and_maxima_by_hand() -> None:
    ids = torch.tensor([[3, 4, 0], [0, 0, 0]])
    x = torch.tensor([[[1.0], [3.0], [90.0]], [[-5.0], [7.0], [8.0]]])
    text = is_text(ids)
    assert text.tolist() == [[True, True, False], [True, False, False]]
    assert last_places(text).tolist() == [1, 0]
    assert masked_mean(x, text).flatten().tolist() == [2.0, -5.0]
    assert masked_max(x, text).flatten().tolist() == [3.0, -5.0]


@pytest.mark.parametrize("name", ["char_lstm", "gpt"])
def test_a_place_sees_nothing_of_what_comes_after(name: str) -> None:
    info = DataInfo("plays", (10,), tuple("abcdefgh"), vocabulary=8, targets="classes", target_shape=(10,))
    model, ids = made(name, info), texts(10, 0) % 8
    future = ids.clone()
    future[:, 6:] = (future[:, 6:] + 3) % 8
    before, after = model(ids), model(future)
    torch.testing.assert_close(after[:, :, :6], before[:, :, :6])
    assert not torch.allclose(after[:, :, 6:], before[:, :, 6:])


@pytest.mark.parametrize("name", ["char_lstm", "gpt"])
def test_a_class_for_a_text_is_not_theirs_to_tell(name: str) -> None:
    with pytest.raises(DataError, match=rf"model {name} tells the next token at each place, data set texts"):
        made(name)


@every_model
def test_what_fills_up_may_be_cut_off(name: str) -> None:
    """So batches may be as short as their longest text."""
    model = made(name)
    torch.testing.assert_close(model(texts(6, 4)[:, :6]), model(texts(6, 4)), rtol=1e-4, atol=1e-5)
