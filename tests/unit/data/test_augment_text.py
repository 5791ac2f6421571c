"""What word dropout and swap do to tokens, and whom they refuse."""

from __future__ import annotations

import pytest
import torch

from nnray.data.augment import mixup
from nnray.data.augment_text import word_dropout, word_swap
from nnray.data.batches import Batches
from nnray.data.splits import DataInfo, Examples
from nnray.data.tokens import PADDING, UNKNOWN
from nnray.errors import DataError, UserCodeError

INFO = DataInfo("texts", (9,), ("a", "b"), vocabulary=500)
IDS = torch.stack([torch.arange(9) + 10 * row for row in range(2, 40)])
IDS[:, 6:] = PADDING
TARGETS = torch.zeros(len(IDS), dtype=torch.int64)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_word_dropout_hides_its_share_and_leaves_the_rest() -> None:
    ids = IDS.repeat(200, 1)
    new, _ = word_dropout(INFO, p=0.3)(ids, TARGETS.repeat(200), rng())
    changed = new != ids
    assert (new[changed] == UNKNOWN).all()
    assert not changed[:, 6:].any(), "what fills up is no word"
    assert float(changed[:, :6].float().mean()) == pytest.approx(0.3, abs=0.01)


def test_word_swap_keeps_the_words_of_each_text() -> None:
    new, _ = word_swap(INFO, p=0.8)(IDS, TARGETS, rng())
    assert torch.equal(new.sort(1).values, IDS.sort(1).values)
    assert torch.equal(new[:, 6:], IDS[:, 6:])
    assert not torch.equal(new, IDS)


def test_word_swap_moves_a_word_by_one_place_at_most() -> None:
    new, _ = word_swap(INFO, p=1.0)(IDS, TARGETS, rng())
    moved = (new[:, :6] - IDS[:, :6]).abs()
    assert moved.max() == 1
    assert moved.bool().float().mean() > 0.8


def test_word_swap_pairs_from_the_first_word_or_the_second() -> None:
    new, _ = word_swap(INFO, p=1.0)(IDS, TARGETS, rng())
    orders = {tuple(row) for row in (new - IDS[:, :1])[:, :6].tolist()}
    assert orders == {(1, 0, 3, 2, 5, 4), (0, 2, 1, 4, 3, 5)}


@pytest.mark.parametrize("make", [word_dropout, word_swap])
def test_images_and_tokens_to_tell_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(DataError, match=r"needs tokens of texts, pictures has .*\[1, 2, 2\].*remove it"):
        make(DataInfo("pictures", (1, 2, 2), ("a", "b")))
    language = DataInfo("plays", (9,), ("a", "b"), vocabulary=2, targets="classes", target_shape=(9,))
    with pytest.raises(DataError, match=r"asks for classes of its tokens.*remove it"):
        make(language)


def test_tokens_can_t_be_blended() -> None:
    with pytest.raises(DataError, match=r"mixup: ids of tokens, as of texts, can't be blended; remove it"):
        mixup(INFO)


def test_an_augmentation_that_makes_floats_of_tokens_is_told() -> None:
    batches = Batches(Examples(IDS, TARGETS), batch_size=4, augment=[lambda x, y, _: (x.float(), y)])
    with pytest.raises(UserCodeError, match=r"returned .*float32.*expected \(inputs \[B, ...\] int64"):
        next(iter(batches.epoch(0)))
