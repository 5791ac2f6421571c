"""What a trained model says of files: as the module itself, whatever the batch, the format and the way in."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nnray
from nnray.data.digits import digits
from nnray.data.inputs import read_inputs
from nnray.errors import ConfigError, DataError, RunError
from nnray.runners.prediction import predict
from nnray.runners.prediction.run import Predictions
from nnray.runners.subject import Subject, open_subject
from tests.unit.after.conftest import Trained
from tests.unit.cli_calls import Nnray, caller


@pytest.fixture
def nnray_(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    return caller(monkeypatch, capsys)


@pytest.fixture
def subject(conv: Trained) -> Subject:
    return open_subject(conv.result.model_uri, root=conv.root, tracking=conv.tracking)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The first test digits, each in a file that is named after its number and its class."""
    test = digits().test
    assert test is not None
    held = test()
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(60):
        pixels = (held.inputs[number, 0] * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number:03}-{int(held.targets[number])}.png")
    return folder


def asked(subject: Subject, path: Path, **options: object) -> Predictions:
    return predict(subject, read_inputs([path], subject.info), probabilities=True, **options)  # type: ignore[arg-type]


def test_answers_are_those_of_the_module(subject: Subject, pictures: Path) -> None:
    block = read_inputs([pictures], subject.info).collect()
    with torch.no_grad():
        expected = subject.module(block.inputs).double().softmax(1)
    found = asked(subject, pictures).answers
    assert [row["name"] for row in found] == block.names
    assert [row["label"] for row in found] == expected.argmax(1).tolist()
    told = torch.tensor([list(row["probabilities"].values()) for row in found], dtype=torch.float64)
    assert float((told - expected).abs().max()) <= 1e-6


def test_most_answers_are_right(subject: Subject, pictures: Path) -> None:
    found = asked(subject, pictures).answers
    assert sum(row["class"] == row["name"][-5] for row in found) >= 48
    assert all(row["confidence"] == max(row["probabilities"].values()) for row in found)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_numbers_are_the_same_whatever_the_batch(subject: Subject, pictures: Path, batch_size: int) -> None:
    found, expected = (
        asked(subject, pictures, batch_size=batch_size).answers,
        asked(subject, pictures).answers,
    )
    assert [row["name"] for row in found] == [row["name"] for row in expected]
    for one, other in zip(found, expected, strict=True):
        assert all(
            math.isclose(p, q, abs_tol=1e-6)
            for p, q in zip(one["probabilities"].values(), other["probabilities"].values(), strict=True)
        )


def test_a_batch_has_an_input(subject: Subject, pictures: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size: must be an integer above 0 \(got 0\)"):
        asked(subject, pictures, batch_size=0)


def test_a_threshold_parts_two_classes(subject: Subject, pictures: Path) -> None:
    with pytest.raises(ConfigError, match=r"threshold: is for two classes; the model has 10: leave it out"):
        asked(subject, pictures, threshold=0.3)


def test_counts_and_origin_are_told(subject: Subject, pictures: Path, conv: Trained) -> None:
    found = asked(subject, pictures)
    assert found.rows == sum(found.by_class.values()) == 60
    assert (found.run_id, found.model_uri) == (conv.result.run_id, conv.result.model_uri)
    assert found.model_sha256 == conv.result.model_sha256


def test_a_result_is_a_model(conv: Trained, pictures: Path, subject: Subject) -> None:
    found = nnray.predict(conv.result, pictures, root=conv.root)
    assert found.rows == 60
    assert [row["label"] for row in found.answers] == [r["label"] for r in asked(subject, pictures).answers]


def test_unreadable_inputs_leave_no_file(subject: Subject, pictures: Path, tmp_path: Path) -> None:
    (pictures / "059-x.png").write_text("no picture")
    with pytest.raises(DataError, match=r"059-x.png: is no picture"):
        asked(subject, pictures, out=tmp_path / "out" / "a.csv")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_passed_over_is_told(
    subject: Subject, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "030-x.png").write_text("no picture")
    inputs = read_inputs([pictures], subject.info, skip_unreadable=True)
    found = predict(subject, inputs)
    assert found.rows == 60
    assert found.unreadable == [f"{pictures / '030-x.png'}: is no picture: replace it"]
    assert "passed over 1 input(s)" in capsys.readouterr().err
    assert "passed over  1" in found.summary()


def test_an_interrupt_leaves_no_file(
    subject: Subject, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(subject.module), "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asked(subject, pictures, out=tmp_path / "out" / "a.csv")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_gives_no_numbers_is_named(subject: Subject, pictures: Path) -> None:
    with torch.no_grad():
        nn.init.constant_(next(subject.module.parameters()), float("nan"))
    with pytest.raises(RunError, match=r"gives no finite numbers for .*000-.*png"):
        asked(subject, pictures)


@pytest.mark.parametrize("name", ["pictures/out.csv", "pictures"])
def test_answers_do_not_go_where_inputs_are(subject: Subject, pictures: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="inputs are read from"):
        asked(subject, pictures, out=pictures.parent / name, file_format="csv")
    (pictures.parent / "there").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        asked(subject, pictures, out=pictures.parent / "there", file_format="csv")


def test_the_command_writes_csv_to_stdout(nnray_: Nnray, conv: Trained, pictures: Path) -> None:
    code, out, err = nnray_("predict", str(conv.result.folder), str(pictures), "--dir", str(conv.root))
    lines = out.splitlines()
    assert code == 0 and lines[0] == "name,label,class,confidence" and len(lines) == 61
    assert len(err.splitlines()) == 10  # how many are of each class


def test_the_command_tells_scripts(nnray_: Nnray, conv: Trained, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    asked_for = ("predict", str(conv.result.folder), str(pictures), "--json", "--out", str(out))
    code, shown, _ = nnray_(*asked_for, "--probabilities")
    told = json.loads(shown.splitlines()[-1])
    assert code == 0 and told["verb"] == "predict" and told["rows"] == 60 and told["files"] == [str(out)]
    assert "answers" not in told
    assert len(json.loads(out.read_text())) == 60


def test_mistakes_end_with_2(nnray_: Nnray, conv: Trained, pictures: Path) -> None:
    model = str(conv.result.folder)
    assert nnray_("predict", model, str(pictures / "nothing.png"))[0] == 2
    assert nnray_("predict", model, str(pictures), "--json")[0] == 2
    (pictures / "x.png").write_text("no picture")
    code, _, err = nnray_("predict", model, str(pictures))
    assert code == 2 and "--skip-unreadable" in err
    assert nnray_("predict", model, str(pictures), "--skip-unreadable", "-q")[0] == 0


def test_a_reader_that_leaves_ends_it_without_a_word(
    nnray_: Nnray, conv: Trained, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    closed: list[int] = []
    monkeypatch.setattr(os, "dup2", lambda _, number: closed.append(number))
    monkeypatch.setattr("sys.stdout", Left())
    code, _, err = nnray_("predict", str(conv.result.folder), str(pictures))
    assert (code, err, closed) == (1, "", [1])


def test_the_label_column_of_the_experiment_is_passed_over(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).normal(size=(80, 2))
    rows = [f"{x:.6f},{'up' if y > 0 else 'down'},{y:.6f}" for x, y in draw]
    (tmp_path / "data.csv").write_text("\n".join(["x,kind,y", *rows]))
    file = tmp_path / "e.yaml"
    file.write_text(
        f"name: table\ndata: {{name: csv, root: {tmp_path}/data.csv, label: kind}}\n"
        "model: {name: mlp, hidden: [8]}\ntraining: {epochs: 20}\noptimizer: {name: adam, lr: 0.03}\n"
    )
    result = nnray.train(
        file, [f"tracking.uri=sqlite:///{tmp_path}/m.db", f"tracking.dir={tmp_path}/r"], quiet=True
    )
    found = nnray.predict(result, tmp_path / "data.csv", root=tmp_path / "r").answers
    right = sum(row["class"] == text.split(",")[1] for row, text in zip(found, rows, strict=True))
    assert right >= 72
    assert found[3]["name"] == f"{tmp_path / 'data.csv'}:3"
