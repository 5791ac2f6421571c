"""Laws that every model of the catalog obeys, on images of any size."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.catalog import CATALOG
from nnray.data.batches import laid_out
from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.preprocess import Preprocessed, preprocess
from nnray.registry import parameters
from nnray.seeding import torch_seeded

# They give losses in training and boxes in evaluation: tests/unit/models/test_detector.py has their laws.
DETECTORS = {"detector"}
MODELS = sorted(CATALOG["model"].keys() - DETECTORS)
# What models of other inputs than images are tried on.
TEXT = DataInfo("made up texts", (12,), tuple("abcdefg"), vocabulary=30)
NEXT = DataInfo("plays", (12,), tuple("abcdefg"), vocabulary=7, targets="classes", target_shape=(12,))
OTHER: dict[str, DataInfo] = {
    **dict.fromkeys(["char_lstm", "gpt"], NEXT),
    **dict.fromkeys(["embedding_bag", "ngram_bag", "text_cnn", "lstm", "gru", "text_transformer"], TEXT),
    "unet": DataInfo(
        "masks", (3, 12, 9), tuple("abc"), (0.4,) * 3, (0.3,) * 3, targets="classes", target_shape=(12, 9)
    ),
}
TABLE = DataInfo("rows", (4,), tuple("abc"), (0.0, 0.4, 0.0, 0.4), (1.0, 0.3) * 2, categories=(4, 0, 2, 0))
OTHER |= {"tabular_mlp": TABLE, "tabular_resnet": TABLE}
PAIRS = DataInfo("pairs", (2,), (), (0.0, 0.0), (1.0, 1.0), categories=(50, 70), targets="numbers")
OTHER |= {"matrix_factorization": PAIRS, "neumf": PAIRS}
GIVEN_BACK = DataInfo(
    "own", (3, 12, 9), (), (0.4,) * 3, (0.3,) * 3, targets="numbers", target_shape=(3, 12, 9)
)
OTHER |= dict.fromkeys(("autoencoder", "conv_autoencoder", "vae"), GIVEN_BACK)
OTHER["dcgan"] = DataInfo(
    "scores", (3, 12, 9), (), (0.4,) * 3, (0.3,) * 3, targets="numbers", target_shape=(3,)
)
SERIES = DataInfo(
    "made up series",
    (3, 20),
    (),
    (0.4,) * 3,
    (0.3,) * 3,
    targets="numbers",
    target_shape=(2, 5),
    target_mean=(0.2, 0.5),
    target_std=(0.3, 2.0),
)
OTHER |= dict.fromkeys(("series_lstm", "series_gru", "tcn", "dlinear", "series_transformer"), SERIES)
IMAGE_MODELS = [name for name in MODELS if name != "mlp" and name not in OTHER]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 23)]
# One network of each kind on each shape is enough of the slow ones.
FAST: dict[str, dict[str, Any]] = {
    "resnet": {"depth": 20, "width": 8},
    "torchvision": {"arch": "shufflenet_v2_x0_5"},
}


def info_of(shape: tuple[int, ...], num_classes: int = 10) -> DataInfo:
    classes = tuple(f"class {label}" for label in range(num_classes))
    channels = shape[0]
    return DataInfo("made up", shape, classes, mean=(0.4,) * channels, std=(0.3,) * channels)


def make(name: str, info: DataInfo, **options: Any) -> Preprocessed:
    """A model on images as told; on its own kind of inputs where it takes others."""
    info = OTHER.get(name, info)
    module, _, function = CATALOG["model"][name].partition(":")
    build: Callable[..., nn.Module] = getattr(import_module(module), function)
    with torch_seeded(1, "init"):
        return preprocess(build(info, **FAST.get(name, {}) | options), info)


def inputs(shape: tuple[int, ...], size: int, name: str = "") -> Tensor:
    """Inputs for a model: of the shape, or of the model's own kind."""
    rng = torch.Generator().manual_seed(size)
    if name not in OTHER:
        return torch.rand(size, *shape, generator=rng)
    info = OTHER[name]
    if info.vocabulary:
        return torch.randint(info.vocabulary, (size, *info.input_shape), generator=rng)
    if info.categories:
        drawn = torch.rand(size, *info.input_shape, generator=rng)
        counts = torch.tensor(info.categories)
        return torch.where(counts > 0, (drawn * counts).floor(), drawn)
    return torch.rand(size, *info.input_shape, generator=rng)


def loss_of(outputs: Tensor, name: str, *, num_classes: int) -> Tensor:
    """A loss that every output counts in."""
    wanted = OTHER[name].output_shape if name in OTHER else (num_classes,)
    assert wanted is not None
    assert outputs.shape == (len(outputs), *wanted)
    if name in OTHER and OTHER[name].targets == "numbers":
        return (outputs - 1).square().mean()
    places = torch.arange(len(outputs) * outputs[0, 0].numel()).reshape(len(outputs), *outputs.shape[2:])
    return nn.functional.cross_entropy(outputs, places % outputs.shape[1])


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in MODELS for shape in SHAPES[: 1 if name in OTHER else None]]
)
def test_logits_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    model = make(name, info_of(shape, num_classes=7), dropout=0.1)
    logits = model(inputs(shape, 8, name))
    assert len(logits) == 8
    assert logits.isfinite().all()
    loss_of(logits, name, num_classes=7).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), f"{key} has no gradient"


@pytest.mark.parametrize("name", MODELS)
def test_a_lone_example_can_be_trained_on(name: str) -> None:
    """A last batch may hold one example, on which torch's batch norm raises."""
    options = {"norm": "batch"} if "norm" in parameters("model", name) else {}
    model = make(name, info_of((1, 8, 8)), **options).train()
    logits = model(inputs((1, 8, 8), 1, name))
    assert logits.isfinite().all()
    logits.sum().backward()


@pytest.mark.parametrize("name", MODELS)
def test_state_dict_makes_a_round_trip(name: str) -> None:
    info = info_of((3, 32, 32))
    one, other = make(name, info).eval(), make(name, info).eval()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    x = inputs((3, 32, 32), 4, name)
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_from_the_seed_alone(name: str) -> None:
    one, other = (make(name, info_of((3, 32, 32))).state_dict() for _ in range(2))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_treats_each_example_alone(name: str) -> None:
    model = make(name, info_of((1, 28, 28)), dropout=0.5).eval()
    x = inputs((1, 28, 28), 5, name)
    with torch.no_grad():
        one_by_one = torch.cat([model(x[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(model(x), one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_dropout_has_one_name_everywhere_and_keeps_the_keys(name: str) -> None:
    """A sweep over ``model.dropout`` works for each of them, and moves no key of a checkpoint."""
    info = info_of((1, 28, 28))
    with_dropout, without = make(name, info, dropout=0.5), make(name, info, dropout=0.0)
    assert with_dropout.state_dict().keys() == without.state_dict().keys()
    probabilities = {m.p for m in with_dropout.modules() if hasattr(m, "p")}
    assert 0.5 in probabilities
    x = inputs((1, 28, 28), 3, name)
    with_dropout.load_state_dict(without.state_dict())
    assert torch.equal(with_dropout.eval()(x), without.eval()(x))
    assert not torch.equal(with_dropout.train()(x), with_dropout(x))


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_bounded_in_the_file(name: str) -> None:
    schema = str(parameters("model", name)["dropout"].type)
    assert "ge=0" in schema.replace(" ", "").lower(), schema


@pytest.mark.parametrize("name", MODELS)
def test_every_key_has_a_type_and_a_line_of_help(name: str) -> None:
    for key, parameter in parameters("model", name).items():
        assert parameter.type is not Any, key
        assert parameter.help, key
        assert not parameter.required, key


@pytest.mark.parametrize("name", MODELS)
def test_channels_last_gives_the_same_logits(name: str) -> None:
    model = make(name, info_of((3, 32, 32))).eval()
    x = inputs((3, 32, 32), 2, name)
    with torch.no_grad():
        wanted = model(x)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        got = model(laid_out(x, by_pixel=True))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@cache
def exported(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """A model, and its program made from a batch of 2 with a dynamic batch dimension."""
    model = make(name, info_of(shape)).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (inputs(shape, 2, name),), dynamic_shapes=({0: batch},))
    return model, program.module()


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_takes_any_batch(name: str, size: int) -> None:
    model, program = exported(name, (1, 28, 28))
    x = inputs((1, 28, 28), size, name)
    with torch.no_grad():
        torch.testing.assert_close(program(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_vectors_are_refused_by_image_models(name: str) -> None:
    with pytest.raises(DataError, match=rf"model {name}.* takes images .*made up .*\[30\].*use model mlp"):
        make(name, info_of((30,)))


SMALLEST = {"cnn": 6, "simple_cnn": 4, "lenet": 4, "cifar_cnn": 4, "resnet": 1}


@pytest.mark.parametrize(("name", "smallest"), SMALLEST.items())
def test_too_small_images_are_refused_with_the_smallest_size(name: str, smallest: int) -> None:
    """Every size is either refused by name or works; torch is never the one to complain."""
    for side in range(1, smallest):
        with pytest.raises(DataError, match=rf"{smallest} x {smallest} pixels or more.*have {side} x 40"):
            make(name, info_of((1, side, 40)))
    for side in range(smallest, 40):
        shape = (1, side, side + 1)
        assert make(name, info_of(shape)).eval()(inputs(shape, 2)).shape == (2, 10)


def test_unpadded_convolutions_have_a_smallest_size_of_their_own() -> None:
    with pytest.raises(DataError, match=r"18 x 18 pixels or more.*have 17 x 30"):
        make("cifar_cnn", info_of((1, 17, 30)), padding="valid")
    assert make("cifar_cnn", info_of((1, 18, 18)), padding="valid").eval()(inputs((1, 18, 18), 2)).shape == (
        2,
        10,
    )
