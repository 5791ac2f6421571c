"""Networks for tables: what becomes of categories, against sums by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess, require_outputs
from nnray.models.tabular import Cells, tabular_mlp, tabular_resnet
from nnray.seeding import torch_seeded

INFO = DataInfo("rows", (3,), ("no", "yes"), (0, 5, 0), (1, 2, 1), missing=True, categories=(4, 0, 6))
MODELS = [tabular_mlp, tabular_resnet]
every_model = pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)


def test_a_row_is_its_quantities_and_a_vector_for_each_category() -> None:
    cells = Cells((4, 0, 6), width=8)
    assert cells.width == 1 + 2 + 3
    first, second = cells.tables
    assert isinstance(first, nn.Embedding) and isinstance(second, nn.Embedding)
    rows = cells(torch.tensor([[3.0, 0.25, 5.0], [1.0, -2.0, 2.0]]))
    expected = [
        torch.cat([torch.tensor([0.25]), first.weight[3], second.weight[5]]),
        torch.cat([torch.tensor([-2.0]), first.weight[1], second.weight[2]]),
    ]
    assert torch.equal(rows, torch.stack(expected))


def test_the_width_of_a_category_is_bounded() -> None:
    assert [table.weight.shape[1] for table in Cells((4, 0, 100), width=8).tables] == [2, 8]  # type: ignore[union-attr, index]


def test_a_table_without_quantities_or_without_categories_has_its_width() -> None:
    assert Cells((3, 3), width=1)(torch.tensor([[1.0, 2.0]])).shape == (1, 2)
    assert torch.equal(Cells((0, 0), width=1)(torch.tensor([[1.0, 2.0]])), torch.tensor([[1.0, 2.0]]))


def test_an_unseen_category_says_nothing_before_it_is_learnt() -> None:
    rows = Cells((4, 0, 6), width=8)(torch.tensor([[0.0, 1.0, 0.0]]))
    assert rows.tolist() == [[1, 0, 0, 0, 0, 0]]


@every_model
def test_a_missing_quantity_counts_as_the_mean(build: object) -> None:
    model = preprocess(build(INFO), INFO).eval()  # type: ignore[operator]
    rows = torch.tensor([[1.0, float("nan"), 2.0], [1.0, 5.0, 2.0]])
    outputs = model(rows)
    torch.testing.assert_close(outputs[0], outputs[1])


@every_model
def test_the_numbers_of_codes_mean_nothing(build: object) -> None:
    """Codes exchanged, and their vectors with them: nothing else of a code is used."""
    with torch_seeded(0, "init"):
        net = build(INFO).eval()  # type: ignore[operator]
    rows = torch.tensor([[1.0, 0.5, 2.0], [3.0, 0.5, 2.0]])
    before = net(rows)
    assert not torch.allclose(before[0], before[1])
    table = net.cells.tables[0].weight
    with torch.no_grad():
        table[[1, 3]] = table[[3, 1]]
    assert torch.allclose(net(rows), before.flip(0))


@every_model
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_numbers_are_answered_in_their_shape(build: object, shape: tuple[int, ...]) -> None:
    info = DataInfo("rows", (2,), (), categories=(3, 0), targets="numbers", target_shape=shape)
    net = preprocess(build(info), info)  # type: ignore[operator]
    require_outputs("net", net, info=info)
    assert net(torch.tensor([[1.0, 0.5]] * 4)).shape == (4, *shape)


@every_model
def test_vectors_and_images_are_taken_without_categories(build: object) -> None:
    for shape in ((5,), (1, 3, 4)):
        info = DataInfo("plain", shape, ("no", "yes"))
        assert build(info)(torch.rand(3, *shape)).shape == (3, 2)  # type: ignore[operator]


@every_model
def test_tokens_are_refused(build: object) -> None:
    with pytest.raises(DataError, match=r"model tabular_\w+ takes tables, the inputs of data set text are"):
        build(DataInfo("text", (5,), ("no", "yes"), vocabulary=9))  # type: ignore[operator]


def test_without_hidden_layers_the_model_is_linear_in_its_cells() -> None:
    net = tabular_mlp(INFO, hidden=())
    assert [name for name, _ in net.named_children()] == ["cells", "output"]


def test_blocks_of_a_resnet_add_to_what_came_in() -> None:
    net = tabular_resnet(INFO, width=8, depth=3)
    blocks = [block for name, block in net.named_children() if name.startswith("block")]
    assert len(blocks) == 3
    for block in blocks:
        for parameter in block.parameters():
            nn.init.zeros_(parameter)
        x = torch.rand(4, 8)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("build", [*MODELS, mlp], ids=lambda build: build.__name__)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_numbers_come_in_the_shape_of_targets_and_in_their_units(build: Any, shape: tuple[int, ...]) -> None:
    """Fresh networks answer near the mean of the targets, as outputs are in their deviations."""
    count = shape[0] if shape else 1
    info = DataInfo(
        "rows", (3,), (), targets="numbers", target_shape=shape,
        target_mean=(1000.0,) * count, target_std=(2.0,) * count,
    )  # fmt: skip
    model = preprocess(build(info), info).eval()
    answers = model(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    assert answers.shape == (5, *shape)
    assert ((answers - 1000).abs() < 20).all()


@pytest.mark.parametrize("build", [*MODELS, mlp], ids=lambda build: build.__name__)
def test_boxes_are_refused(build: Any) -> None:
    info = DataInfo("drawn", (3,), ("disc",), targets="boxes", target_shape=(2, 5))
    with pytest.raises(DataError, match="can't answer with boxes, for which drawn asks"):
        build(info)
