"""Texts drawn token by token: by the model's odds, from the seed alone, each place from what came before."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.data.tokens import fit_tokenizer
from nnray.models.next_token import char_lstm, gpt
from nnray.seeding import torch_seeded
from nnray.tasks.exhibit import Passage
from nnray.tasks.language import language
from nnray.tasks.sampling import sampled

PLAYS = DataInfo("plays", (6,), tuple("_abcdefg"), vocabulary=8, targets="classes", target_shape=(6,))


class Fixed(nn.Module):
    """Gives every place the same odds; what fills up has the best."""

    def __init__(self, *shares: float) -> None:
        super().__init__()
        self.logits = torch.tensor([9.0, *(math.log(share) for share in shares)])

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.logits[None, :, None].expand(len(ids_BT), -1, ids_BT.shape[1])


class Successor(nn.Module):
    """After token n comes n + 1; after the last, 1. Remembers what it has seen."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens, self.seen = tokens, list[Tensor]()

    def forward(self, ids_BT: Tensor) -> Tensor:
        self.seen.append(ids_BT)
        following = torch.where(ids_BT >= self.tokens, 1, ids_BT + 1)
        return 20 * nn.functional.one_hot(following, self.tokens + 1).float().transpose(1, 2)


def test_shares_of_tokens_are_the_model_s() -> None:
    begin = torch.ones(3000, 1, dtype=torch.int64)
    drawn = sampled(Fixed(0.6, 0.3, 0.1), begin, count=1, length=4, seed=0)
    shares = torch.bincount(drawn[:, 0], minlength=4) / 3000
    # Four standard deviations of a share of 3,000 draws are below 0.036.
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.6, 0.3, 0.1]), rtol=0, atol=0.036)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_raises_odds_to_its_inverse(temperature: float) -> None:
    begin = torch.ones(3000, 1, dtype=torch.int64)
    drawn = sampled(Fixed(0.8, 0.2), begin, count=1, length=4, seed=0, temperature=temperature)
    wanted = 0.8 ** (1 / temperature) / (0.8 ** (1 / temperature) + 0.2 ** (1 / temperature))
    assert float((drawn == 1).float().mean()) == pytest.approx(wanted, abs=0.036)


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-3])
def test_the_coldest_takes_the_best(temperature: float) -> None:
    begin = torch.tensor([[1], [3]])
    drawn = sampled(Fixed(0.4, 0.6), begin, count=20, length=4, seed=0, temperature=temperature)
    assert (drawn == 2).all()


def test_each_token_comes_of_the_last_ones() -> None:
    model = Successor(5)
    drawn = sampled(model, torch.tensor([[1, 2], [4, 5]]), count=5, length=3, seed=0)
    assert drawn.tolist() == [[3, 4, 5, 1, 2], [1, 2, 3, 4, 5]]
    seen = [ids[0].tolist() for ids in model.seen]
    assert seen == [[1, 2, 0], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 1]]


@pytest.mark.parametrize("make", [char_lstm, gpt])
def test_it_draws_from_the_seed_and_leaves_torch_s_state(make: object) -> None:
    with torch_seeded(0, "model"):
        model = make(PLAYS, dropout=0.5).eval()  # type: ignore[operator]
    begin = torch.tensor([[1, 2, 3]])
    before = torch.get_rng_state()
    one, again, other = (sampled(model, begin, count=30, length=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() > 0


def shown(info: DataInfo, inputs: Tensor, **keys: float) -> str:
    task = language(info, **keys)  # type: ignore[arg-type]
    exhibits = task.exhibits(Successor(info.vocabulary - 1), inputs, inputs, seed=0)
    assert set(exhibits) == {"sampled_text"}
    assert isinstance(exhibits["sampled_text"], Passage)
    return exhibits["sampled_text"].text


def test_texts_to_validate_with_are_gone_on_with() -> None:
    short, long = [1, 2, 0, 0, 0, 0], [[number, number + 1, number + 2, 7, 7, 7] for number in range(1, 5)]
    text = shown(PLAYS, torch.tensor([short, *long]), sample_tokens=4, temperature=0.0)
    assert text.splitlines()[0] == "Validation texts, with 4 tokens drawn at temperature 0"
    assert [line for line in text.splitlines() if line.startswith("begin")] == [
        "begin: a b c",
        "begin: b c d",
        "begin: c d e",
    ]
    assert [line for line in text.splitlines() if line.startswith("drawn")] == [
        "drawn: d e f g",
        "drawn: e f g a",
        "drawn: f g a b",
    ]


def test_texts_that_are_all_short_begin_with_one_token() -> None:
    text = shown(PLAYS, torch.tensor([[3, 4, 0, 0, 0, 0]]), sample_tokens=3)
    assert "begin: c\n\ndrawn: d e f" in text


def test_an_encoder_makes_tokens_a_text_again() -> None:
    tokenizer = fit_tokenizer(["abc"], kind="char", length=4)
    names = tokenizer.vocabulary
    info = DataInfo(
        "plays",
        (4,),
        names,
        vocabulary=len(names),
        targets="classes",
        target_shape=(4,),
        encoder=tokenizer.to_json(),
    )
    text = shown(info, tokenizer.encode(["abca"]), sample_tokens=2)
    assert "begin: ab\n\ndrawn: c[UNK]" in text


def test_classes_that_are_no_tokens_make_no_text() -> None:
    speech = DataInfo("tags", (6,), ("noun", "verb"), vocabulary=8, targets="classes", target_shape=(6,))
    inputs = torch.ones(2, 6, dtype=torch.int64)
    assert language(speech).exhibits(Successor(7), inputs, inputs, seed=0) == {}
