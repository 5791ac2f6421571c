"""The verbs after training as they are typed: what they refuse, and what scripts read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnray.seeding import numpy_rng
from tests.unit.after.conftest import Trained, train_in
from tests.unit.cli_calls import Nnray, caller

VERBS: dict[str, list[str]] = {
    "attack": ["--method", "fgsm", "--epsilon", "0.1", "--limit", "20"],
    "compress": ["--method", "magnitude:sparsity=0.5"],
    "evaluate": ["--bootstrap", "0", "--wrong", "0"],
    "explain": ["--method", "saliency", "--index", "0", "--no-check"],
    "export": ["--format", "safetensors"],
    "report": [],
}
"""Each with options that make it short."""
OF_A_SPLIT = ["attack", "evaluate", "explain"]
BY_METHOD = ["attack", "compress", "explain"]


@pytest.fixture
def nnray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    return caller(monkeypatch, capsys)


@pytest.fixture
def refused(nnray: Nnray, trained: Trained) -> Any:
    """Runs what is wrong on a trained model: the message, all that is printed but progress."""

    def run(verb: str, *options: str, model: str = trained.result.folder.name) -> str:
        places = ["--dir", str(trained.root), "--tracking", trained.tracking]
        code, out, err = nnray(verb, model, *places, *options)
        assert (code, out) == (2, ""), err
        begun = [line for line in err[: err.find("error: ")].splitlines() if not line.endswith(" ...")]
        assert begun == []
        assert err.count("error:") == 1
        assert "Traceback" not in err
        return err[err.find("error: ") :]

    return run


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_that_is_none_is_named(verb: str, refused: Any) -> None:
    assert "nowhere" in refused(verb, *VERBS[verb], model="nowhere")


@pytest.mark.parametrize("verb", VERBS)
def test_a_version_that_is_none_is_named(verb: str, refused: Any) -> None:
    assert "nowhere" in refused(verb, *VERBS[verb], model="nowhere/7")


@pytest.mark.parametrize("verb", VERBS)
def test_an_option_that_is_none_is_named(verb: str, refused: Any) -> None:
    assert "--colour" in refused(verb, *VERBS[verb], "--colour", "red")


@pytest.mark.parametrize("verb", VERBS)
def test_the_model_has_to_be_named(verb: str, nnray: Nnray) -> None:
    code, out, err = nnray(verb, *VERBS[verb])
    assert (code, out) == (2, "")
    assert "Missing argument" in err


@pytest.mark.parametrize("verb", OF_A_SPLIT)
def test_the_splits_are_listed_for_one_that_is_none(verb: str, refused: Any) -> None:
    message = refused(verb, *VERBS[verb], "--split", "holdout")
    assert "holdout" in message
    assert all(split in message for split in ("train", "val", "test"))


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model whose data have no test split."""
    folder, rng = tmp_path_factory.mktemp("untested"), numpy_rng(0, "untested")
    np.savez(folder / "x.npz", x=rng.normal(size=(60, 4)).astype("float32"), y=np.arange(60) % 3)
    overrides = [f"data={{name: npz, file: {folder}/x.npz, test: 0}}", "training.epochs=1"]
    return train_in(folder, name="untested", overrides=overrides)


@pytest.mark.parametrize("verb", OF_A_SPLIT)
def test_a_split_that_the_data_have_not_is_said(verb: str, nnray: Nnray, untested: Trained) -> None:
    places = ["--dir", str(untested.root), "--tracking", untested.tracking]
    code, out, err = nnray(verb, untested.result.folder.name, *places, *VERBS[verb], "--split", "test")
    assert (code, out) == (2, "")
    assert err.count("error:") == 1
    assert "no test split" in err


@pytest.mark.parametrize("verb", BY_METHOD)
def test_the_method_that_is_meant_is_suggested(verb: str, refused: Any) -> None:
    wanted = {"attack": "fgsm", "compress": "magnitude", "explain": "saliency"}[verb]
    message = refused(verb, "--method", wanted[:-1])
    assert wanted[:-1] in message
    assert f"{wanted!r}" in message


@pytest.mark.parametrize("verb", BY_METHOD)
def test_the_key_of_a_method_that_is_none_is_named(verb: str, refused: Any) -> None:
    method = {"attack": "pgd", "compress": "magnitude", "explain": "integrated_gradients"}[verb]
    assert "colour" in refused(verb, "--method", f"{method}:colour=red")


@pytest.mark.parametrize("verb", BY_METHOD)
def test_the_value_of_a_key_that_is_wrong_is_shown(verb: str, refused: Any) -> None:
    method = {
        "attack": "pgd:steps=many",
        "compress": "magnitude:sparsity=many",
        "explain": "integrated_gradients:steps=many",
    }[verb]
    message = refused(verb, "--method", method)
    assert "many" in message
    assert method.split(":")[1].split("=")[0] in message


@pytest.mark.parametrize(
    ("verb", "options", "words"),
    [
        ("attack", ["--epsilon", "a,b"], ["--epsilon", "'a,b'"]),
        ("attack", ["--epsilon", "-1"], ["epsilon", "-1"]),
        ("attack", ["--limit", "-1"], ["--limit"]),
        ("attack", ["--norm", "l7"], ["l7", "linf", "l2"]),
        ("attack", ["--corruptions", "fogg"], ["fogg"]),
        ("attack", ["--corruptions", "all", "--epsilon", "0.1"], ["epsilon", "method"]),
        ("attack", ["--baseline", "other"], ["baseline", "corruptions"]),
        ("compress", [], ["--method"]),
        ("compress", ["--method", "magnitude:sparsity=0.5", "--epochs", "-1"], ["--epochs"]),
        ("compress", ["--method", "magnitude:sparsity=0.5", "--lr", "0"], ["lr", "above 0"]),
        ("compress", ["--method", "magnitude", "--target", "size=0.5"], ["size", "bytes"]),
        ("compress", ["--method", "int8", "--method", "magnitude:sparsity=0.5"], ["int8"]),
        ("evaluate", ["--data", "nowhere.csv"], ["nowhere.csv"]),
        ("evaluate", ["--bootstrap", "-1"], ["--bootstrap"]),
        ("evaluate", ["--threshold-by", "f7"], ["f7", "f1"]),
        ("evaluate", ["--threshold-by", "f1"], ["two classes"]),
        ("explain", ["--index", "one"], ["--index", "'one'"]),
        ("explain", ["--index", "99999"], ["99999"]),
        ("explain", ["--index", "1", "--wrong", "2"], ["one of", "index", "wrong"]),
        ("explain", ["--target", "seven", "--index", "0"], ["seven"]),
        ("explain", ["--inputs", "nowhere.png"], ["nowhere.png"]),
        ("explain", ["--method", "grad_cam", "--index", "0"], ["grad_cam", "integrated_gradients"]),
        ("explain", ["--method", "saliency", "--method", "saliency"], ["saliency", "twice"]),
        ("export", [], ["--format"]),
        ("export", ["--format", "tflite"], ["tflite", "onnx", "safetensors"]),
    ],
)
def test_what_is_wrong_and_what_is_allowed_is_said(
    verb: str, options: list[str], words: list[str], refused: Any
) -> None:
    message = refused(verb, *options)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_script_gets_one_object_on_the_last_line(
    verb: str, nnray: Nnray, trained: Trained, tmp_path: Path
) -> None:
    out = tmp_path / ("page.html" if verb == "report" else "out")
    places = ["--dir", str(trained.root), "--tracking", trained.tracking, "--out", str(out)]
    code, shown, err = nnray(verb, trained.result.folder.name, *places, *VERBS[verb], "--json")
    assert code == 0, err
    (line,) = shown.splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    told = json.loads(line, parse_constant=refuse)
    assert told["verb"] == verb
    assert told["run_id"]
    assert told["tracking_uri"] == trained.tracking
    assert told["files"]
    assert all(Path(file).is_file() for file in told["files"])
    assert all(Path(file).is_relative_to(tmp_path) for file in told["files"])
    assert err, "people read on stderr"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "report"])
def test_quiet_leaves_stderr_to_errors(verb: str, nnray: Nnray, trained: Trained, tmp_path: Path) -> None:
    places = ["--dir", str(trained.root), "--tracking", trained.tracking, "--out", str(tmp_path / "out")]
    code, shown, err = nnray(verb, trained.result.folder.name, *places, *VERBS[verb], "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(shown)["verb"] == verb
