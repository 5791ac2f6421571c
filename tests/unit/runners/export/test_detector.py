"""A detector finds as many boxes as there are: graphs refuse it in a sentence, weights hold it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray.assembly import build_model
from nnray.assembly.described import about
from nnray.config import parse
from nnray.data.splits import DataInfo
from nnray.errors import IncompatibleModel
from nnray.runners.export.onnx_file import write_onnx
from nnray.runners.export.order import Order, Writer
from nnray.runners.export.torch_files import write_graph, write_weights
from nnray.runners.export.verify import differences, inputs_like

INFO = DataInfo(
    "shapes",
    (3, 16, 16),
    ("disc", "square"),
    mean=(0.5,) * 3,
    std=(0.2,) * 3,
    targets="boxes",
    target_shape=(4, 5),
)


@pytest.fixture(scope="module")
def order() -> Order:
    tree = {"name": "x", "task": "detection", "data": {"name": "shapes", "kind": "boxes", "size": 16}}
    experiment = parse({**tree, "model": {"name": "detector", "channels": [4, 32]}})
    module = build_model(experiment, INFO).eval()
    return Order(module, inputs_like(INFO, 2), about(experiment, INFO), {})


@pytest.mark.parametrize(("write", "what"), [(write_graph, "torch.export"), (write_onnx, "ONNX")])
def test_a_graph_can_not_hold_it_and_says_so_on_three_lines(
    write: Writer, what: str, order: Order, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        IncompatibleModel, match=f"{what} can't handle .*\n.*\nExport as safetensors"
    ) as caught:
        write(order, tmp_path)
    assert len(str(caught.value).splitlines()) == 3
    assert capfd.readouterr() == ("", "")


def test_weights_hold_it(order: Order, tmp_path: Path) -> None:
    written = write_weights(order, tmp_path)
    assert max(differences(order.module, written.forward, info=INFO, method="weights").values()) == 0
