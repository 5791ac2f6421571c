"""What single strategies do where their equations end."""

from __future__ import annotations

import math

import pytest
import torch

from nnray.errors import ConfigError
from nnray.federated.strategies.fednova import fednova
from nnray.federated.strategies.fedopt import fedopt
from nnray.federated.strategies.local_steps import reach
from nnray.federated.strategies.qfedavg import qfedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Vectors
from nnray.testing import means_of
from nnray.training.optimizers import adam, sgd


def update(**changes: object) -> ClientUpdate:
    plain = {
        "client": 0, "num_examples": 4, "num_steps": 3, "lr": 0.1, "momentum": 0.0,
        "delta": torch.tensor([0.5, -0.25]), "loss": 1.0, "start_loss": math.nan,
    }  # fmt: skip
    return ClientUpdate(**(plain | changes))  # type: ignore[arg-type]


def test_plain_steps_reach_as_far_as_they_are_many() -> None:
    assert [reach(steps) for steps in (0, 1, 7)] == [0.0, 1.0, 7.0]


def test_reach_is_what_sgd_of_torch_does_under_a_gradient_of_one() -> None:
    w = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.8)
    for _ in range(9):
        w.grad = 1.0 + 2.0 * w.detach()
        optimizer.step()
    assert -float(w.detach()) / 0.1 == pytest.approx(reach(9, momentum=0.8, damping=0.2), rel=1e-5)


def test_a_pull_that_makes_steps_run_away_is_told() -> None:
    with pytest.raises(ConfigError, match=r"lr \* mu is 2.5.*lower mu or lr"):
        fednova(mu=25.0).message(update(num_steps=4), server={}, client={})


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scaffolds_variate_is_the_mean_gradient(momentum: float) -> None:
    w, gradient = torch.zeros(2, requires_grad=True), torch.tensor([1.0, -2.0])
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=momentum)
    for _ in range(20):
        w.grad = gradient.clone()
        optimizer.step()
    done = update(num_steps=20, momentum=momentum, delta=w.detach())
    strategy = scaffold()
    sent = strategy.message(done, server=strategy.server_state(torch.zeros(2)), client={})
    torch.testing.assert_close(sent.kept["variate"], gradient)


def test_a_client_without_steps_keeps_its_variate() -> None:
    own, server = {"variate": torch.tensor([1.0, 2.0])}, {"variate": torch.tensor([3.0, 4.0])}
    sent = scaffold().message(update(num_steps=0, delta=torch.zeros(2)), server=server, client=own)
    assert torch.equal(sent.kept["variate"], own["variate"])
    assert not sent.vectors["variate"].value.any()
    assert (
        not fednova()
        .message(update(num_steps=0, delta=torch.zeros(2)), server={}, client={})
        .vectors["per_step"]
        .value.any()
    )


def test_a_client_that_fares_worse_counts_for_more() -> None:
    strategy = qfedavg(q=2.0)
    server = strategy.server_state(torch.zeros(2))
    bad, good = (strategy.message(update(start_loss=loss), server=server, client={}) for loss in (2.0, 1.0))
    ratio = bad.vectors["delta"].weight / good.vectors["delta"].weight
    assert ratio == pytest.approx(4.0)


def test_weights_stay_in_range_as_losses_fall() -> None:
    strategy = qfedavg(q=5.0)
    server = strategy.server_state(torch.zeros(2))
    for loss in (2.0, 1e-4, 1e-4):
        sent = [strategy.message(update(start_loss=loss * k), server=server, client={}) for k in (1.0, 3.0)]
        _, server = strategy.step(torch.zeros(2), means_of(sent, population=2), server=server)
    assert float(server["loss"]) == pytest.approx(2e-4)
    assert sent[0].vectors["delta"].weight == pytest.approx(0.5**5, rel=1e-4)


@pytest.mark.parametrize("loss", [-0.1, math.nan, math.inf])
def test_a_loss_that_qfedavg_has_no_power_of_is_refused(loss: float) -> None:
    strategy = qfedavg()
    server = strategy.server_state(torch.zeros(2))
    with pytest.raises(ConfigError, match="needs losses of 0 or more"):
        strategy.message(update(start_loss=loss), server=server, client={})


def test_fedopts_state_is_its_optimizers() -> None:
    strategy = fedopt(server_optimizer=lambda params: adam(params, lr=0.1))
    server: Vectors = strategy.server_state(torch.zeros(2))
    assert server == {}
    sent = strategy.message(update(), server=server, client={})
    for _ in range(3):
        _, server = strategy.step(torch.zeros(2), means_of([sent], population=1), server=server)
    assert set(server) == {"step", "exp_avg", "exp_avg_sq"}
    assert float(server["step"]) == 3.0


def test_fedopt_leaves_weights_alone_that_it_was_given() -> None:
    params = torch.ones(2)
    strategy = fedopt(server_optimizer=lambda given: sgd(given, lr=1.0))
    sent = strategy.message(update(), server={}, client={})
    after, _ = strategy.step(params, means_of([sent], population=1), server={})
    assert params.tolist() == [1.0, 1.0]
    assert after.tolist() == [1.5, 0.75]
    assert not after.requires_grad
