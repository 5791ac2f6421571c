"""Giving inputs back: errors by hand, noise and divergence in learning only, missing values, anomalies."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from nnray.config import parse
from nnray.data.splits import DataInfo, Examples
from nnray.errors import ConfigError
from nnray.evaluation.evaluate import evaluate
from nnray.federated.stacked_checks import incompatibilities
from nnray.federated.weights import FlatModel
from nnray.metrics import mode_of
from nnray.models.autoencoders import autoencoder, conv_autoencoder, vae
from nnray.models.latent import Gaussian, Variational
from nnray.models.preprocess import preprocess
from nnray.privacy.example.probe import require_separate
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.reconstruction import divergences, example_errors, reconstruction

IMAGES = DataInfo("images", (1, 6, 5), ("a", "b"), (0.4,), (0.2,))
ROWS = DataInfo("rows", (2,), ("a", "b"), (1.0, 10.0), (0.5, 20.0), missing=True)


class Same(nn.Module):
    """Gives back what it gets, and keeps it."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.got = inputs
        return inputs


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 6, 5, generator=torch_rng(0, "images"))


def test_errors_are_means_over_an_example_s_values() -> None:
    inputs, outputs = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 4.0], [2.0, 1.0]])
    assert example_errors(outputs, inputs).tolist() == [2.0, 5.0]
    assert example_errors(outputs, inputs, power=1).tolist() == [1.0, 2.0]
    task = reconstruction(ROWS)
    found = task.summarize(evaluate(_Fixed(outputs), [(inputs, torch.zeros(2))], task))
    assert found == {"loss": 3.5, "mse": 3.5, "rmse": 3.5**0.5, "mae": 1.5}
    assert all(mode_of(name) == "min" for name in found)


class _Fixed(nn.Module):
    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> Tensor:
        return self.outputs


def test_a_missing_value_has_neither_an_error_nor_a_gradient() -> None:
    inputs = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
    outputs = torch.tensor([[3.0, 7.0], [5.0, 5.0]], requires_grad=True)
    errors = example_errors(outputs, inputs)
    assert errors.tolist() == [4.0, 0.0]
    torch.autograd.backward(errors.sum())
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[4.0, 0.0], [0.0, 0.0]]


def test_labels_are_not_looked_at() -> None:
    task, model = reconstruction(IMAGES), preprocess(autoencoder(IMAGES, latent=3), IMAGES)
    x = images(8)
    one, other = (task.loss_of(model, x, torch.full((8,), label))[1] for label in (0, 1))
    assert torch.equal(one, other)
    torch.testing.assert_close(one, (model(x) - x).square().mean())


def test_noise_is_put_on_inputs_in_units_of_their_deviation_and_not_on_what_is_compared() -> None:
    task, same = reconstruction(ROWS, noise=0.1), Same()
    x = torch.tensor([[1.0, 10.0]]).repeat(20_000, 1)
    with torch_seeded(0, "noise"):
        outputs, loss = task.loss_of(same, x, x)
    noise = same.got - x
    torch.testing.assert_close(noise.std(0), torch.tensor([0.05, 2.0]), rtol=0.03, atol=0)
    torch.testing.assert_close(noise.mean(0), torch.zeros(2), rtol=0, atol=0.05)
    torch.testing.assert_close(loss, noise.square().mean())
    assert torch.equal(outputs, same.got)


def test_there_is_no_noise_in_evaluation() -> None:
    task, x = reconstruction(IMAGES, noise=5.0), images(8)
    assert task.summarize(evaluate(Same(), [(x, torch.zeros(8))], task))["mse"] == 0


def test_noise_in_images_has_the_deviation_of_their_channel() -> None:
    info = DataInfo("two", (2, 40, 40), ("a",), (0.5, 0.5), (0.1, 0.3))
    same, x = Same(), torch.zeros(20, 2, 40, 40)
    with torch_seeded(1, "noise"):
        reconstruction(info, noise=2.0).loss_of(same, x, x)
    torch.testing.assert_close(same.got.std((0, 2, 3)), torch.tensor([0.2, 0.6]), rtol=0.03, atol=0)


def test_divergence_is_that_of_torch_distributions() -> None:
    mean, log_variance = torch.randn(2, 5, 3, generator=torch_rng(0, "codes"))
    codes = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    wanted = torch.distributions.kl_divergence(codes, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(Gaussian().divergence(mean, log_variance), wanted)


@pytest.mark.parametrize("beta", [0.0, 0.3, 2.0])
def test_a_variational_loss_is_the_error_and_the_divergence_a_value(beta: float) -> None:
    """Through the preprocessing in front, against the formula by hand."""
    net = vae(IMAGES, latent=3)
    model, x = preprocess(net, IMAGES), images(8)
    with torch_seeded(0, "draws"):
        outputs, loss = reconstruction(IMAGES, beta=beta).loss_of(model, x, torch.zeros(8))
    encoder, features = cast("nn.Sequential", net.encoder), (x - 0.4) / 0.2
    for layer in list(encoder)[:-1]:
        features = layer(features)
    code = cast("Variational", encoder[-1])
    divergence = Gaussian().divergence(code.mean(features), code.log_variance(features))
    torch.testing.assert_close(loss, (outputs - x).square().mean() + beta * divergence.mean() / 30)


def test_nobody_listens_after_the_block() -> None:
    net = vae(IMAGES, latent=3)
    with divergences(net) as found:
        net(images(2))
    net(images(2))
    assert len(found) == 1
    with pytest.raises(RuntimeError, match="shape"), divergences(net):
        net(torch.zeros(2, 1, 3, 3))
    assert not any(module._forward_hooks for module in net.modules())


def test_draws_are_made_in_training_alone() -> None:
    net, x = vae(IMAGES, latent=3), images(4)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_what_was_not_trained_on_has_the_larger_error() -> None:
    """The anomaly score parts bright images from the dark ones that it has learnt."""
    dark = 0.2 * images(64)
    model, task = preprocess(autoencoder(IMAGES, latent=2, hidden=(16,)), IMAGES), reconstruction(IMAGES)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        torch.autograd.backward(task.loss_of(model, dark, torch.zeros(64))[1])
        optimizer.step()
    bright = 1 - dark
    known, unknown = (example_errors(model.eval()(x), x) for x in (dark, bright))
    assert known.max() < unknown.min()


def test_what_is_given_back_beats_the_mean_image() -> None:
    rng = torch_rng(0, "two factors")
    codes, patterns = torch.rand(200, 2, generator=rng), torch.rand(2, 30, generator=rng)
    x = (codes @ patterns / 2).reshape(200, 1, 6, 5)
    for build in (autoencoder, conv_autoencoder, vae):
        with torch_seeded(0, "init"):
            model, task = preprocess(build(IMAGES, latent=4), IMAGES), reconstruction(IMAGES, beta=1e-4)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(150):
                optimizer.zero_grad()
                torch.autograd.backward(task.loss_of(model, x, torch.zeros(200))[1])
                optimizer.step()
        mse = evaluate(model, [(x, torch.zeros(200))], task).mean("mse")
        assert mse < 0.3 * float((x - x.mean(0)).square().mean()), build.__name__


@pytest.mark.parametrize("build", [autoencoder, conv_autoencoder])
def test_examples_can_be_protected_one_by_one(build: Any) -> None:
    model = preprocess(build(IMAGES, latent=4), IMAGES)
    require_separate(model, reconstruction(IMAGES), info=IMAGES)


def test_clients_that_learn_otherwise_than_from_targets_are_not_trained_side_by_side() -> None:
    flat, x = FlatModel(preprocess(autoencoder(IMAGES), IMAGES)), images(8)
    optimizer = torch.optim.SGD(flat.parameters, lr=0.1)
    examples = Examples(x, torch.zeros(8, dtype=torch.int64))
    reasons = incompatibilities(flat, optimizer, examples=examples, task=reconstruction(IMAGES))
    assert reasons == ["task (Reconstruction): it learns otherwise than from outputs and targets"]


def test_tokens_are_refused() -> None:
    info = DataInfo("texts", (9,), ("a", "b"), vocabulary=50)
    with pytest.raises(ConfigError, match=r"data set texts are tokens: use images, series or tables"):
        reconstruction(info)


@pytest.mark.parametrize("key", ["noise", "beta"])
def test_keys_are_bounded_in_the_file(key: str) -> None:
    tree = {
        "name": "a",
        "data": "digits",
        "model": "autoencoder",
        "task": {"name": "reconstruction", key: -1},
    }
    with pytest.raises(ConfigError, match=rf"task.{key}"):
        parse(tree, source="a.yaml")
