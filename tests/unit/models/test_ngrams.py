"""Runs of tokens: which there are, that they are told apart, and that a bag has no other order."""

from __future__ import annotations

import torch

from nnray.data.splits import DataInfo
from nnray.models.ngrams import ngram_bag, run_numbers
from nnray.models.text import is_text
from nnray.seeding import torch_seeded

INFO = DataInfo("texts", (8,), ("a", "b"), vocabulary=10)


def numbers(ids: list[list[int]], *, size: int, rows: int = 10_000) -> torch.Tensor:
    tensor = torch.tensor(ids)
    return run_numbers(tensor, is_text(tensor), size=size, rows=rows)


def test_a_run_ends_within_its_text() -> None:
    found = numbers([[3, 4, 5, 0, 0], [0, 0, 0, 0, 0]], size=2)
    assert (found != 0).tolist() == [[True, True, False, False, False], 5 * [False]]
    assert (numbers([[3, 4, 0]], size=1) != 0).tolist() == [[True, True, False]]
    assert (numbers([[0, 0, 0]], size=1) != 0).tolist() == [[True, False, False]], "a text of nothing has one"


def test_the_hash_by_hand() -> None:
    """Lehmer's: h = (48271 h + id + 1) mod (2 ** 31 - 1), from the size on; rows - 1 numbers from 1."""
    h = 2
    for token in (3, 4):
        h = (h * 48271 + token + 1) % (2**31 - 1)
    assert numbers([[3, 4]], size=2, rows=1000)[0, 0] == h % 999 + 1


def test_equal_runs_have_one_number_wherever_they_stand_and_others_another() -> None:
    found = numbers([[1, 2, 1, 2, 2, 1]], size=2)[0].tolist()
    assert (found[0], found[1]) == (found[2], found[4])
    assert len({found[0], found[1], found[3]}) == 3
    assert found[0] != numbers([[1, 2]], size=1)[0, 0]


def test_every_number_is_a_row() -> None:
    ids = torch.randint(1, 10, (50, 8), generator=torch.Generator().manual_seed(0)).tolist()
    for rows in (2, 7):
        found = numbers(ids, size=3, rows=rows)[:, :6]
        assert found.min() == 1
        assert found.max() == rows - 1


def test_the_order_of_tokens_counts_only_within_runs() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 0, 0]])
    turned = torch.tensor([[6, 5, 4, 3, 2, 1, 0, 0]])
    for sizes, alike in (((1,), True), ((1, 2), False)):
        with torch_seeded(0, "init"):
            model = ngram_bag(INFO, sizes=sizes).eval()
        assert torch.allclose(model(ids), model(turned), atol=1e-6) == alike


def test_a_text_shorter_than_every_run_is_told_by_the_bias() -> None:
    model = ngram_bag(INFO, sizes=[3]).eval()
    bias = dict(model.named_parameters())["output.1.bias"]
    torch.testing.assert_close(model(torch.tensor([[4, 0, 0, 0, 0, 0, 0, 0]]))[0], bias)
