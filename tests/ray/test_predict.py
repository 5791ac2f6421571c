"""Ray Data gives the answers of this process, in the order of the inputs, and names what can't be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nnray.assembly import build_model, build_task, load_data
from nnray.assembly.described import about
from nnray.config import parse
from nnray.data import input_csv
from nnray.data.inputs import read_inputs
from nnray.errors import DataError
from nnray.runners.cluster import Cluster
from nnray.runners.origins import Origin
from nnray.runners.prediction import predict
from nnray.runners.subject import Subject

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A network with the weights that it began with."""
    experiment = parse({"name": "p", "data": {"name": "digits"}, "model": {"name": "mlp", "hidden": [8]}})
    info = load_data(experiment).info
    module = build_model(experiment, info).eval()
    described = about(experiment, info)
    task = build_task(experiment, info)
    return Subject("p", module, experiment, info, task, "", Origin(""), described)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, two tables in many pieces, and arrays; some of it can't be read."""
    draw, folder = np.random.default_rng(0), tmp_path / "in"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    np.savez(folder / "arrays.npz", x=draw.random((30, 8, 8)))
    header = ",".join(f"c{i}" for i in range(64))
    for name in ("m.csv", "n.csv"):
        np.savetxt(
            folder / name, draw.random((300, 64)), fmt="%.4f", delimiter=",", header=header, comments=""
        )
    return folder


def test_answers_are_those_of_this_process(
    cluster: Cluster, subject: Subject, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_csv, "BLOCK_BYTES", 20_000)
    monkeypatch.chdir(folder.parent)
    with (folder / "m.csv").open("a") as file:
        file.write("1,2\n")
    (folder / "broken.png").write_text("no picture")
    (folder / "broken.parquet").write_text("no table")
    torch.set_num_threads(1)
    paths = ["in/n.csv", "in", "in/1.png"]
    found = {}
    for on_ray in (False, True):
        inputs = read_inputs(paths, subject.info, skip_unreadable=True)
        assert len(list(inputs.pieces())) > 15
        out = Path(f"{on_ray}.csv")
        found[on_ray] = predict(subject, inputs, out=out, probabilities=True, on_ray=on_ray)
        assert inputs.tally.converted.total() == 6
    assert Path("True.csv").read_text() == Path("False.csv").read_text()
    assert found[True].unreadable == found[False].unreadable and len(found[True].unreadable) == 3
    assert found[True].rows == found[False].rows == 300 + 5 + 30 + 600 + 1
    with pytest.raises(DataError, match=r"3 input\(s\) can't be read(.|\n)*broken.png: is no picture"):
        predict(subject, read_inputs(paths, subject.info), out=Path("bad.csv"), on_ray=True)
    assert not Path("bad.csv").exists()
