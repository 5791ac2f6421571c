from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nnray.config import Experiment, load, override, parse, with_overrides
from nnray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": "tiny", "model": "mlp"}
TEXT = "name: x\ndata: tiny\nmodel: mlp\n"


def written(content: bytes | str, name: str = "job.yaml") -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    text = str(caught.value)
    assert all(line.startswith(f"{path}: ") for line in text.splitlines())
    return text


def test_a_file_is_the_experiment_it_says() -> None:
    assert load(written(TEXT)) == parse(BASE)
    assert load(written("\ufeff" + TEXT)) == parse(BASE)
    assert load(str(written(TEXT))) == parse(BASE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "is empty: an experiment has at least name, data and model"),
        ("# only a comment\n", "is empty"),
        ("[1, 2]", "must be a mapping with name, data, model and so on (got [1, 2])"),
        ("just text", "must be a mapping"),
        (b"name: \xff\xfe", "is not UTF-8 text: byte 0xff at offset 6; save it as UTF-8"),
        ("name: x".encode("utf-16"), "is not UTF-8 text"),
        (b"name: \x00", "is not YAML: the character '\\x00' at offset 6"),
        (b"#" * 300_000, "is too large"),
        (TEXT + "seed: 1e400\n", "the number '1e400' is too large to be held: at most 1.79e308 (line 4)"),
    ],
)
def test_a_bad_file_is_one_clear_message(content: bytes | str, expected: str) -> None:
    text = refusal(written(content))
    assert expected in text
    assert "\n" not in text


def test_a_missing_file_names_those_there_are() -> None:
    written(TEXT, "digits.yaml")
    written(TEXT, "mnist.yaml")
    assert "there is no such file; did you mean 'digits.yaml'?; there are" in refusal("digit.yaml")
    assert "there is no such file" in refusal("nowhere/x.yaml")


def test_a_folder_a_pipe_and_a_device_are_no_files() -> None:
    os.mkfifo("pipe.yaml")
    assert "is not a file" in refusal("pipe.yaml")
    assert "is not a file" in refusal("/dev/zero")
    Path("folder").mkdir()
    written(TEXT, "folder/a.yaml")
    assert "is a folder; name a YAML file" in refusal("folder")
    assert "a.yaml" in refusal("folder")


@pytest.mark.parametrize("path", ["a\x00b.yaml", "x" * 5000, "job.yaml/x"])
def test_a_path_that_can_t_be_is_told(path: str) -> None:
    written(TEXT)
    refusal(path)


def test_doubled_keys_come_with_all_other_problems() -> None:
    text = refusal(written(TEXT + "seed: 1\nseed: 2\nmodle: 3\n"))
    doubled, unknown = text.splitlines()
    assert doubled == "job.yaml: seed: the key 'seed' stands twice, in lines 4 and 5"
    assert unknown.startswith(
        "job.yaml: modle: unknown key; did you mean 'model'? allowed: data, federated, loss, model, name"
    )


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("training.epochs=3", lambda exp: exp.training.epochs == 3),
        ("optimizer.lr=1e-2", lambda exp: exp.optimizer.kwargs["lr"] == 0.01),
        ("optimizer=sgd", lambda exp: exp.optimizer.kwargs == {"lr": 0.01, "momentum": 0.0}),
        ("optimizer={name: sgd, momentum: 0.9}", lambda exp: exp.optimizer.kwargs["momentum"] == 0.9),
        ("model.hidden=[8, 8]", lambda exp: exp.model.kwargs["hidden"] == [8, 8]),
        ("model.name=cnn", lambda exp: exp.model.kwargs == {"channels": [32, 64], "dropout": 0.5}),
        ("data.limit=100", lambda exp: exp.data.limit == 100),
        ("data.classes=3", lambda exp: exp.data.kwargs == {"classes": 3}),
        ("training.max_grad_norm=", lambda exp: exp.training.max_grad_norm is None),
        ("training.early_stopping.patience=2", lambda exp: exp.training.early_stopping.patience == 2),
        ("training.early_stopping={}", lambda exp: exp.training.early_stopping.patience == 5),
        ("data.augment=[flip]", lambda exp: exp.data.augment[0].kwargs == {"p": 0.5}),
        ("tracking.uri=sqlite:///a=b.db", lambda exp: exp.tracking.uri == "sqlite:///a=b.db"),
        ("name=größe-1", None),
        (
            "sweep.space={model.dropout: {uniform: [0, 0.5]}}",
            lambda exp: exp.sweep.space["model.dropout"].high == 0.5,
        ),
    ],
)
def test_an_override_sets_a_field(text: str, read: Any) -> None:
    if read is None:
        assert "name: must be" in refusal(written(TEXT), text)
        return
    assert read(load(written(TEXT), [text]))
    assert read(override(parse(BASE), [text]))


def test_overrides_go_into_lists_and_into_the_space() -> None:
    text = TEXT.replace("data: tiny", "data: {name: tiny, augment: [flip]}")
    assert load(written(text), ["data.augment.0.p=0.1"]).data.augment[0].kwargs == {"p": 0.1}
    exp = load(written(text), ["sweep.space.model.dropout={uniform: [0, 0.5]}", "sweep.trials=3"])
    assert exp.sweep is not None
    assert (list(exp.sweep.space), exp.sweep.trials) == (["model.dropout"], 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epoch=3", "training.epoch: unknown key; did you mean 'epochs'?"),
        (
            "training.epochs=x",
            "must be an integer above 0 (got 'x') [set by the override of training.epochs]",
        ),
        ("trainng.epochs=3", "trainng: unknown key; did you mean 'training'?"),
        ("optimizer.lrr=3", "optimizer.lrr: unknown key for optimizer 'adam'; did you mean 'lr'?"),
        ("seed.x=3", "seed: must be an integer"),
        ("name.x=3", "name.x: has no place: 'x' stands where 'x' would be a key"),
        ("data.augment.3.p=3", "data.augment"),
        ("training.epochs", "the override 'training.epochs' must be written PATH=VALUE"),
        ("=3", "must be written PATH=VALUE"),
        ("a..b=3", "must be written PATH=VALUE"),
        ("seed=[1", "seed: is not YAML"),
        ("seed={a: 1, a: 2}", "seed: the key 'a' stands twice"),
        (
            "seed=!!python/object:os.system x",
            "seed: the tag '!!python/object:os.system' in line 1 is refused",
        ),
        ("model.name=mpl", "model.name: no model 'mpl'; did you mean 'mlp'?"),
    ],
)
def test_a_bad_override_is_told(text: str, expected: str) -> None:
    assert expected in refusal(written(TEXT), text)


def test_an_index_out_of_a_list_is_told() -> None:
    text = TEXT.replace("data: tiny", "data: {name: tiny, augment: [flip]}")
    for key in ("1", "x", "-1"):
        assert f"there is no item {key!r} in a list of 1" in refusal(
            written(text), f"data.augment.{key}.p=0.1"
        )


def test_overrides_leave_what_they_were_applied_to() -> None:
    exp = parse(BASE)
    values = dict(BASE)
    changed = with_overrides(exp, {"optimizer.lr": 0.5, "training.epochs": 3, "model.dropout": 0.1})
    parse(values, ["model.dropout=0.1"])
    assert exp == parse(BASE)
    assert values == BASE
    assert (changed.optimizer.kwargs["lr"], changed.training.epochs) == (0.5, 3)
    assert changed == parse(BASE, ["optimizer.lr=0.5", "training.epochs=3", "model.dropout=0.1"])


def test_no_override_changes_nothing() -> None:
    exp = parse(BASE | {"sweep": {"space": {"model.dropout": {"uniform": [0, 0.5]}}}})
    assert with_overrides(exp, {}) == exp
    assert override(exp, []) == exp


def test_a_new_name_takes_the_keys_that_mean_something_under_it() -> None:
    exp = parse(BASE | {"model": {"name": "mlp", "dropout": 0.25}, "optimizer": {"name": "adam", "lr": 0.1}})
    assert with_overrides(exp, {"model.name": "cnn"}).model.kwargs == {"channels": [32, 64], "dropout": 0.25}
    assert with_overrides(exp, {"optimizer.name": "sgd"}).optimizer.kwargs == {"lr": 0.1, "momentum": 0.0}
    with pytest.raises(ConfigError, match=r"overrides: model.hidden: unknown key for model 'cnn'"):
        with_overrides(exp, {"model.name": "cnn", "model.hidden": [8]})


def test_keys_chosen_on_purpose_are_an_error_on_the_command_line_and_dropped_by_a_sweep() -> None:
    exp = parse(BASE | {"model": {"name": "mlp", "hidden": [8], "dropout": 0.25}})
    with pytest.raises(ConfigError, match=r"x: model.hidden: unknown key for model 'cnn'"):
        override(exp, ["model.name=cnn"])
    assert with_overrides(exp, {"model.name": "cnn"}).model.kwargs == {"channels": [32, 64], "dropout": 0.25}
    assert exp.model.kwargs["hidden"] == [8]


@pytest.mark.parametrize("paths", [("model.name", "model.hidden"), ("model.hidden", "model.name")])
def test_a_name_is_set_before_the_keys_in_whatever_order_they_come(paths: tuple[str, str]) -> None:
    values = {"model.name": "mlp", "model.hidden": [8]}
    exp = parse(BASE | {"model": {"name": "cnn", "channels": [4]}})
    assert with_overrides(exp, {path: values[path] for path in paths}).model.kwargs["hidden"] == [8]


def test_a_new_name_drops_defaults_that_were_written_out() -> None:
    exp = parse(BASE | {"model": {"name": "mlp", "hidden": [64, 32], "dropout": 0.0, "norm": "none"}})
    assert with_overrides(exp, {"model.name": "cnn"}).model.kwargs == {"channels": [32, 64], "dropout": 0.0}


def test_a_new_data_set_keeps_root_and_split() -> None:
    exp = parse(BASE | {"data": {"name": "tiny", "root": "here", "validation": 50}})
    changed = with_overrides(exp, {"data.name": "tiny"})
    assert (changed.data.root, changed.data.validation) == ("here", 50)


def test_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    values = {
        "optimizer.lr": np.float64(0.1),
        "training.epochs": np.int64(3),
        "optimizer.amsgrad": np.bool_(True),
    }
    exp = with_overrides(parse(BASE), values)
    assert (exp.optimizer.kwargs["lr"], exp.training.epochs, exp.optimizer.kwargs["amsgrad"]) == (
        0.1,
        3,
        True,
    )
    assert type(exp.optimizer.kwargs["lr"]) is float


def test_all_bad_overrides_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        with_overrides(parse(BASE), {"optimizer.lr": 0, "training.epochs": 0.5})
    assert [problem.path for problem in caught.value.problems] == ["optimizer.lr", "training.epochs"]


def test_user_code_is_found_in_further_folders_and_never_run() -> None:
    Path("mine").mkdir()
    written("raise SystemExit('ran')\ndef net(info, *, width: int = 3):\n    return info\n", "mine/nets.py")
    values = BASE | {"model": "nets:net"}
    exp: Experiment = parse(values, search=["mine"])
    assert exp.model.kwargs == {"width": 3}
    with pytest.raises(ConfigError, match="no module 'nets' was found in "):
        parse(values)
    changed = with_overrides(exp, {"model.width": 4}, search=["mine"])
    assert changed.model.kwargs == {"width": 4}
