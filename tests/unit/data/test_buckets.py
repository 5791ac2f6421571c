"""Batches of similar lengths: the same examples, the same for any number of ranks, and fewer places."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.assembly import assemble
from nnray.config import parse
from nnray.data.batches import Batches
from nnray.data.buckets import bucketed, require_texts, text_lengths
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import DataError
from nnray.seeding import torch_rng
from tests.unit.data.text_files import write_texts

LENGTH = 20


def texts(count: int) -> Examples:
    """Texts of all lengths; the target is the number of the text."""
    rng = torch_rng(5)
    lengths = torch.randint(0, LENGTH + 1, (count, 1), generator=rng)
    ids = torch.randint(1, 9, (count, LENGTH), generator=rng)
    return Examples(ids * (torch.arange(LENGTH) < lengths), torch.arange(count))


def filled(inputs: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(inputs, (0, LENGTH - inputs.shape[1]))


def epoch(examples: Examples, *, number: int = 1, **options: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(Batches(examples, **{"batch_size": 4, "seed": 3, **options}, shuffle=True).epoch(number))


def test_lengths_by_hand() -> None:
    ids = torch.tensor([[3, 0, 4, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    assert text_lengths(ids).tolist() == [3, 1, 4]


def test_an_order_by_hand() -> None:
    """Two pools of two batches, each sorted; the ninth example stays, and whole batches change places."""
    lengths = torch.tensor([9, 1, 8, 2, 7, 3, 6, 4, 5])
    found = bucketed(torch.arange(9), lengths, batch_size=2, pooled=2, rng=torch_rng(0))
    assert found[8] == 8
    assert sorted(found[:8].view(4, 2).tolist()) == [[1, 3], [2, 0], [5, 7], [6, 4]]


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 12),
    pooled=st.integers(1, 9),
    number=st.integers(0, 3),
)
def test_every_text_comes_once_whole_and_in_few_places(
    count: int, batch_size: int, pooled: int, number: int
) -> None:
    examples = texts(count)
    seen = epoch(examples, number=number, batch_size=batch_size, pooled=pooled)
    assert [len(targets) for _, targets in seen] == [
        min(batch_size, count - start) for start in range(0, count, batch_size)
    ]
    assert sorted(torch.cat([targets for _, targets in seen]).tolist()) == list(range(count))
    for inputs, targets in seen:
        assert torch.equal(filled(inputs), examples.inputs[targets])
        assert inputs.shape[1] == text_lengths(examples.inputs[targets]).max()


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_batches_are_the_same_for_any_number_of_ranks(ranks: int) -> None:
    examples = texts(38)
    alone = epoch(examples, batch_size=6, pooled=3)
    parts = [epoch(examples, batch_size=6, pooled=3, rank=rank, num_ranks=ranks) for rank in range(ranks)]
    assert all(len(part) == len(alone) for part in parts)
    for number, (_, targets) in enumerate(alone):
        assert torch.cat([part[number][1] for part in parts]).tolist() == targets.tolist()


def test_an_epoch_depends_on_the_seed_and_its_number_alone() -> None:
    orders = [
        torch.cat([targets for _, targets in epoch(texts(50), pooled=3, **options)]).tolist()
        for options in ({"number": 1}, {"number": 1}, {"number": 2}, {"number": 1, "seed": 4})
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]


def test_the_more_batches_are_pooled_the_fewer_places_are_read() -> None:
    examples = texts(400)

    def places(pooled: int) -> int:
        return sum(inputs.numel() for inputs, _ in epoch(examples, batch_size=10, pooled=pooled))

    counts = [places(pooled) for pooled in (0, 1, 4, 40)]
    assert counts[0] == 400 * LENGTH
    assert counts[0] > counts[1] > counts[2] > counts[3]
    assert counts[3] < 1.1 * int(text_lengths(examples.inputs).sum())


def test_batches_are_shuffled_not_sorted() -> None:
    widths = [inputs.shape[1] for inputs, _ in epoch(texts(200), pooled=50)]
    assert widths != sorted(widths)
    assert widths != sorted(widths, reverse=True)


def test_a_consumer_that_works_in_place_does_not_change_the_texts() -> None:
    batches = Batches(texts(30), batch_size=4, shuffle=True, pooled=2)
    before = [inputs.clone() for inputs, _ in batches.epoch(0)]
    for inputs, _ in batches.epoch(0):
        inputs.zero_()
    assert all(torch.equal(a, b) for a, (b, _) in zip(before, batches.epoch(0), strict=True))


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (DataInfo("rows", (LENGTH,), ("a",)), "rows has numbers with class to tell; remove it"),
        (
            DataInfo("plays", (LENGTH,), ("a",), vocabulary=9, targets="classes"),
            "plays has tokens with classes",
        ),
    ],
)
def test_what_has_no_lengths_is_refused(info: DataInfo, words: str) -> None:
    require_texts(DataSplits(texts(4), None, None, DataInfo("texts", (LENGTH,), ("a",), vocabulary=9)))
    with pytest.raises(DataError, match=rf"training.length_buckets: needs texts .*{words}"):
        require_texts(DataSplits(texts(4), None, None, info))


def test_an_experiment_asks_for_them(tmp_path: Path) -> None:
    write_texts(tmp_path / "a.csv", count=60)
    tree = {"name": "texts", "data": {"name": "text_csv", "root": str(tmp_path)}, "model": "embedding_bag"}
    widths = {
        pooled: [inputs.shape[1] for inputs, _ in assemble(parse(asked)).train.epoch(1)]
        for pooled in (0, 50)
        for asked in [tree | {"training": {"batch_size": 8, "length_buckets": pooled, "device": "cpu"}}]
    }
    assert set(widths[0]) == {128}
    assert max(widths[50]) < 128
    assert len(set(widths[50])) > 1
    digits = tree | {"data": {"name": "digits"}, "model": "mlp", "training": {"length_buckets": 2}}
    with pytest.raises(DataError, match=r"training.length_buckets: needs texts .*digits has numbers"):
        assemble(parse(digits))
