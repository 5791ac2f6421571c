"""Adversaries: whose gradient goes where, losses by hand, samples by their seed, grids."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.assembly.model import build_model
from nnray.config import parse
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.evaluation.evaluate import evaluate
from nnray.metrics import to_sums
from nnray.models.dcgan import Adversaries, dcgan
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.adversarial_generation import adversarial_generation, generate
from nnray.tasks.exhibit import Picture
from nnray.tasks.pictures import grid

INFO = DataInfo("images", (1, 9, 10), ("a", "b"), (0.4,), (0.2,))


def pair(**options: object) -> Adversaries:
    with torch_seeded(0, "init"):
        net = dcgan(INFO, latent=6, width=4, **options)  # type: ignore[arg-type]
    assert isinstance(net, Adversaries)
    return net


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 9, 10, generator=torch_rng(0, "images"))


@pytest.mark.parametrize("column", range(4))
def test_a_column_of_scores_teaches_one_of_the_two_alone(column: int) -> None:
    """The third the generator, all others the critic."""
    net = pair(gradient_norms=True, norm="group")
    torch.autograd.backward(net(images(6))[:, column].sum())
    grads = {name: value.grad for name, value in net.named_parameters()}
    taught = {name.split(".")[0] for name, grad in grads.items() if grad is not None and grad.any()}
    assert taught == {"generator" if column == 2 else "critic"}


def test_both_scores_of_a_made_image_are_the_same() -> None:
    scores = pair()(images(6))
    assert scores.shape == (6, 3)
    torch.testing.assert_close(scores[:, 1], scores[:, 2])


def test_the_norm_is_that_of_a_linear_critic_s_weights() -> None:
    net = pair(gradient_norms=True, norm="group")
    linear = torch.nn.Linear(90, 1)
    net.critic = torch.nn.Sequential(torch.nn.Flatten(), linear)
    wanted = float(linear.weight.detach().norm())
    torch.testing.assert_close(net(images(5))[:, 3], torch.full((5,), wanted))
    net.eval()
    with torch.inference_mode():
        torch.testing.assert_close(net(images(5))[:, 3], torch.full((5,), wanted))


def test_losses_are_those_of_the_papers() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5, 3.0], [0.0, 1.0, -0.5, 1.0]])
    logistic, wasserstein = adversarial_generation(INFO), adversarial_generation(INFO, loss="wasserstein")

    def lose(score: float) -> float:
        return math.log1p(math.exp(-score))

    by_hand = sum(lose(r) + lose(-m) + lose(g) for r, m, g, _ in scores.tolist()) / 2
    assert float(logistic.loss(scores[:, :3], scores)) == pytest.approx(by_hand)
    critics, generators = [-1 - 2 + 10 * 4, 1 - 0 + 0], [-0.5, 0.5]
    assert float(wasserstein.loss(scores, scores)) == pytest.approx(sum(critics + generators) / 2)


def test_evaluation_knows_how_often_the_critic_is_right() -> None:
    scores, task = torch.tensor([[2.0, -1.0, -1.0], [1.0, 1.0, 1.0]]), adversarial_generation(INFO)
    sums = task.eval_sums(scores, torch.zeros(2))
    assert float(sums["right"]) == 1.5


def test_noise_of_an_example_is_normal_and_its_own() -> None:
    net = pair()
    noise = net._noise(images(4000), 6)
    assert abs(float(noise.mean())) < 0.05
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(net._noise(images(4000)[7:8], 6), noise[7:8])
    assert not torch.equal(noise[0], noise[1])


def test_samples_depend_on_the_seed_alone_and_leave_no_trace() -> None:
    model = preprocess(pair(), INFO).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, again, other = (generate(model, 5, seed=seed) for seed in (1, 1, 2))
    assert one.shape == (5, 1, 9, 10)
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(DataError, match="makes no images: use model dcgan"):
        generate(mlp(INFO), 2, seed=0)


def test_a_grid_holds_every_image_in_its_place() -> None:
    cells = images(5)
    made = grid(cells, columns=3)
    assert made.shape == (1, 18, 30)
    assert torch.equal(made[:, :9, 10:20], cells[1])
    assert torch.equal(made[:, 9:, :10], cells[3])
    assert not made[:, 9:, 20:].any()


def test_it_learns_the_brightness_of_images() -> None:
    """All real images are bright; after some steps the made ones are, too."""
    model, task = preprocess(pair(), INFO), adversarial_generation(INFO)
    bright = 0.9 + 0.1 * images(32)
    before = float(generate(model, 20, seed=0).mean())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.99))
    with torch_seeded(0, "steps"):
        for _ in range(60):
            optimizer.zero_grad()
            torch.autograd.backward(task.loss_of(model, bright, torch.zeros(32))[1])
            optimizer.step()
    assert abs(float(generate(model, 20, seed=0).mean()) - 0.95) < 0.7 * abs(before - 0.95)
    metrics = task.summarize(evaluate(model, [(bright, torch.zeros(32))], task))
    assert all(math.isfinite(value) for value in metrics.values())


def test_a_task_shows_the_same_noise_after_every_epoch() -> None:
    model, task = preprocess(pair(), INFO).eval(), adversarial_generation(INFO)
    one, again, other = (
        task.exhibits(model, images(3), torch.zeros(3), seed=seed)["samples"] for seed in (1, 1, 2)
    )
    assert isinstance(one, Picture)
    assert isinstance(again, Picture)
    assert isinstance(other, Picture)
    assert task.shown_each_epoch
    assert one.pixels.shape == (1, 8 * 9, 8 * 10)
    assert torch.equal(one.pixels, again.pixels)
    assert not torch.equal(one.pixels, other.pixels)
    assert torch.equal(one.pixels, grid(generate(model, 64, seed=1)))


def test_training_tells_the_losses_of_the_images_that_the_critic_has_seen() -> None:
    task, scores = adversarial_generation(INFO), torch.tensor([[2.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    train = task.train_sums(scores, torch.zeros(2), torch.tensor(7.0))
    whole = task.eval_sums(scores, torch.zeros(2))
    assert train == {name: whole[name] for name in train}
    assert task.summarize_train(to_sums(train, 2))["loss"] == pytest.approx(
        float(task.loss(scores, torch.zeros(2)))
    )


def test_norms_of_single_gradients_need_a_critic_of_single_images() -> None:
    with pytest.raises(ConfigError, match=r"model.norm: mixes the images of a batch.*: take group or none"):
        pair(gradient_norms=True)


@pytest.mark.parametrize("norm", ["none", "group"])
def test_such_a_critic_judges_an_image_as_it_does_alone(norm: str) -> None:
    critic, x = pair(norm=norm).critic, images(6)
    torch.testing.assert_close(critic(x)[2:3], critic(x[2:3]))


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 7, 5), (1, 28, 28), (2, 33, 16)], ids=str)
def test_images_of_any_size_are_judged_and_made(shape: tuple[int, int, int]) -> None:
    info = DataInfo("images", shape, ("a",), (0.4,) * shape[0], (0.2,) * shape[0])
    model = preprocess(dcgan(info, latent=3, width=4), info)
    assert model(torch.rand(5, *shape, generator=torch_rng(0, "x"))).shape == (5, 3)
    assert generate(model, 2, seed=0).shape == (2, *shape)


def test_tiny_images_are_refused() -> None:
    with pytest.raises(DataError, match="dcgan"):
        dcgan(DataInfo("images", (1, 3, 9), ("a",)))


def told(**options: object) -> Adversaries:
    """A generator that is told one of two classes."""
    return pair(conditional=True, **options)


def test_an_example_has_a_score_for_each_class_and_a_made_image_that_for_its_own() -> None:
    net, x = told(), images(6)
    assert net(x).shape == (6, 4)
    net.eval()
    scores, (made, labels) = net(x), net._made(x)
    assert labels is not None
    torch.testing.assert_close(scores[:, :2], net.critic(x))
    own = net.critic(made)[range(6), labels.tolist()]
    torch.testing.assert_close(scores[:, 2], own)
    torch.testing.assert_close(scores[:, 3], own)


@pytest.mark.parametrize("training", [True, False])
def test_classes_are_drawn_as_often_as_each_other(training: bool) -> None:
    net, x = told().train(training), images(4000)
    with torch_seeded(0, "noise"):
        labels = net._made(x)[1]
    assert labels is not None
    assert set(labels.tolist()) == {0, 1}
    assert float(labels.float().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("loss", ["logistic", "wasserstein"])
def test_an_example_counts_by_the_score_of_its_class(loss: str) -> None:
    """The others may be what they will; of one class it is the loss without classes."""
    task = adversarial_generation(INFO, loss=loss, conditional=True)  # type: ignore[arg-type]
    alone = adversarial_generation(INFO, loss=loss)  # type: ignore[arg-type]
    labels = torch.tensor([0, 1, 1, 0, 1])
    scores = 3 * torch.randn(5, *alone.output_shape, generator=torch_rng(0, "scores"))
    other = 9 * torch.randn(5, 1, generator=torch_rng(1, "scores"))
    columns = torch.cat([scores[:, :1], other], 1)
    columns = torch.where(labels[:, None] == 0, columns, columns.flip(1))
    outputs = torch.cat([columns, scores[:, 1:]], 1)
    assert outputs.shape[1:] == task.output_shape
    torch.testing.assert_close(task.loss(outputs, labels), alone.loss(scores, labels))
    sums, wanted = task.eval_sums(outputs, labels), alone.eval_sums(scores, labels)
    assert sums.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(sums[name], value)


def test_a_mixed_example_counts_by_its_shares() -> None:
    task = adversarial_generation(INFO, loss="wasserstein", penalty=0, conditional=True)
    outputs, shares = torch.tensor([[2.0, 6.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.25, 0.75]])
    assert float(task.loss(outputs, shares)) == pytest.approx(-5.0)


def test_the_norm_is_that_of_the_gradient_of_the_image_s_own_score() -> None:
    net = told(gradient_norms=True, norm="group")
    linear = torch.nn.Linear(90, 2)
    net.critic = torch.nn.Sequential(torch.nn.Flatten(), linear)
    net.eval()
    labels = net._made(images(5))[1]
    wanted = linear.weight.detach().norm(dim=1)[labels]
    torch.testing.assert_close(net(images(5))[:, 4], wanted)
    with torch.inference_mode():
        torch.testing.assert_close(net(images(5))[:, 4], wanted)


def test_images_can_be_asked_for_by_class() -> None:
    net = preprocess(told(), INFO)
    twos, mixed = generate(net, 6, seed=0, labels=torch.ones(6).long()), generate(net, 6, seed=0)
    assert torch.equal(twos[1::2], mixed[1::2]), "classes come in turn where none are asked for"
    assert not torch.equal(twos[::2], mixed[::2])
    for wrong in (torch.tensor([0, 2]), torch.tensor([-1, 0]), torch.zeros(3).long()):
        with pytest.raises(DataError, match="labels: 2 of 0 to 1 are wanted"):
            generate(net, 2, seed=0, labels=wrong)
    with pytest.raises(DataError, match=r"images of no class: train it with model\.conditional=true"):
        generate(pair(), 6, seed=0, labels=torch.ones(6).long())


def test_a_class_has_a_column_of_the_grid() -> None:
    model, task = preprocess(told(), INFO).eval(), adversarial_generation(INFO, conditional=True)
    shown = task.exhibits(model, images(3), torch.zeros(3), seed=1)["samples"]
    assert isinstance(shown, Picture)
    assert torch.equal(shown.pixels, grid(generate(model, 16, seed=1), columns=2))


@pytest.mark.parametrize("change", [{"classes": ("a",)}, {"targets": "numbers", "target_shape": ()}], ids=str)
@pytest.mark.parametrize("build", [dcgan, adversarial_generation])
def test_classes_are_asked_for_only_where_there_are_some(change: dict[str, object], build: Any) -> None:
    info = replace(INFO, **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"conditional: needs a class of each example.*set it false"):
        build(info, conditional=True)


def test_it_learns_which_class_is_bright() -> None:
    """Images of one class are bright, of the other dark; after some steps so are the made ones."""
    model, task = preprocess(told(), INFO), adversarial_generation(INFO, conditional=True)
    labels = torch.arange(32) % 2
    shown = 0.1 * images(32) + 0.8 * labels[:, None, None, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.5, 0.99))
    with torch_seeded(0, "steps"):
        for _ in range(80):
            optimizer.zero_grad()
            torch.autograd.backward(task.loss_of(model, shown, labels)[1])
            optimizer.step()
    made = generate(model, 20, seed=0).mean((1, 2, 3))
    assert float(made[1::2].mean()) > float(made[::2].mean()) + 0.3


@pytest.mark.parametrize("loss", ["logistic", "wasserstein"])
@pytest.mark.parametrize("told_of", ["task", "model"])
def test_only_one_of_task_and_model_told_of_classes_is_refused(loss: str, told_of: str) -> None:
    """Of two classes the scores of one may be as many as the other wants, and mean something else."""
    norms = (loss == "wasserstein") == (told_of == "task")
    tree = {
        "name": "x",
        "data": "digits",
        "task": {"name": "adversarial_generation", "loss": loss, "conditional": told_of == "task"},
        "model": {
            "name": "dcgan",
            "norm": "group",
            "conditional": told_of == "model",
            "gradient_norms": norms,
        },
    }
    with pytest.raises(ConfigError, match=r"task\.conditional: .*model\.conditional.*set both alike"):
        build_model(parse(tree), INFO)
