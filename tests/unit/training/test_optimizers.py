"""Optimizers against torch's plain single-tensor loops, and what is ours: groups, errors, muon."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnray.errors import ConfigError, IncompatibleModel
from nnray.training import optimizers
from nnray.training.muon import split_matrices

PLAIN = {"foreach": False, "fused": False}
# Ours, torch's, arguments of both.
PAIRS: list[tuple[str, type[Optimizer], dict[str, Any]]] = [
    ("sgd", torch.optim.SGD, {"lr": 0.1}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("adam", torch.optim.Adam, {"lr": 0.01}),
    ("adam", torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    ("adam", torch.optim.Adam, {"lr": 0.01, "amsgrad": True}),
    ("adamw", torch.optim.AdamW, {"lr": 0.01}),
    ("adamw", torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.2, "amsgrad": True, "betas": (0.7, 0.9)}),
    ("rmsprop", torch.optim.RMSprop, {"lr": 0.01}),
    ("rmsprop", torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}),
    ("rmsprop", torch.optim.RMSprop, {"lr": 0.01, "centered": True, "eps": 1e-6}),
    ("adagrad", torch.optim.Adagrad, {"lr": 0.1}),
    ("adagrad", torch.optim.Adagrad, {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.1, "eps": 1e-8}),
    ("adagrad", torch.optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.5}),
]
IDS = [f"{name}-{'-'.join(list(options)[1:]) or 'plain'}" for name, _, options in PAIRS]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: Optimizer, *, steps: int, first: int = 0) -> list[Tensor]:
    for number in range(first, first + steps):
        inputs = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def close(left: list[Tensor], right: list[Tensor]) -> None:
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "theirs", "options"), PAIRS, ids=IDS)
def test_steps_are_those_of_the_plain_loop(
    name: str, theirs: type[Optimizer], options: dict[str, Any]
) -> None:
    ours, plain = network(), network()
    switches = {k: v for k, v in PLAIN.items() if k != "fused" or name != "rmsprop"}
    got = train(ours, getattr(optimizers, name)(ours.parameters(), **options), steps=10)
    wanted = train(plain, theirs(plain.parameters(), **options, **switches), steps=10)
    close(got, wanted)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_the_fused_kernel_is_used_on_the_cpu(name: str) -> None:
    optimizer = getattr(optimizers, name)(network().parameters())
    assert all(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_channels_last_takes_the_same_steps(name: str) -> None:
    """The fused kernels read flat memory, so gradients must be laid out as their parameters are."""
    plain, other = network(), network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    build = getattr(optimizers, name)
    close(
        train(plain, build(plain.parameters()), steps=3),
        [p.contiguous() for p in train(other, build(other.parameters()), steps=3)],
    )
    assert all(p.grad is not None and p.grad.stride() == p.stride() for p in other.parameters())


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "adagrad"])
def test_weight_decay_is_coupled(name: str) -> None:
    """The same as adding weight_decay * w to the gradient by hand."""
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    build = getattr(optimizers, name)
    decayed, plain = build(first.parameters(), weight_decay=0.3), build(second.parameters())
    for _ in range(4):
        for p, q in zip(first.parameters(), second.parameters(), strict=True):
            p.grad, q.grad = torch.ones_like(p), torch.ones_like(q) + 0.3 * q.detach()
        decayed.step()
        plain.step()
    close(list(first.parameters()), list(second.parameters()))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weight_decay_is_decoupled(name: str) -> None:
    """Without a gradient the weights shrink by lr * weight_decay, and by nothing else."""
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = getattr(optimizers, name)(model.parameters(), lr=0.1, weight_decay=0.5)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    close([p.detach() for p in model.parameters()], [p * 0.95 for p in before])


def test_betas_may_come_as_a_list_from_yaml() -> None:
    assert optimizers.adam(network().parameters(), betas=[0.8, 0.9]).defaults["betas"] == (0.8, 0.9)  # type: ignore[arg-type]


def test_parameter_groups_keep_their_own_options() -> None:
    model = network()
    head, rest = list(model[-1].parameters()), list(model[:-1].parameters())  # type: ignore[index]
    groups = [{"params": rest}, {"params": head, "lr": 0.5, "weight_decay": 0.25}]
    optimizer = optimizers.sgd(groups, lr=0.1)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.25]
    assert groups[0].keys() == {"params"}, "the caller's groups were changed"


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "dampening": 0.1}])
def test_nesterov_without_momentum_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.nesterov.*momentum > 0 and dampening 0.*got momentum"):
        optimizers.sgd(network().parameters(), nesterov=True, **options)


@pytest.mark.parametrize("name", ["sgd", "adam", "muon"])
@pytest.mark.parametrize("params", [[], [{"params": []}]])
def test_a_model_without_parameters_is_refused(name: str, params: list[Any]) -> None:
    with pytest.raises(IncompatibleModel, match="no parameters"):
        getattr(optimizers, name)(params)


def mlp() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.Tanh(), nn.Linear(16, 8), nn.Linear(8, 3))


@pytest.mark.parametrize(
    "options", [{}, {"adjust_lr_fn": "original", "nesterov": False, "ns_steps": 3, "weight_decay": 0.2}]
)
def test_muon_is_torchs_muon_beside_torchs_adamw(options: dict[str, Any]) -> None:
    ours, theirs = mlp(), mlp()
    got = train(ours, optimizers.muon(ours.parameters(), lr=0.02, **options), steps=5)
    params = list(theirs.parameters())
    matrices, rest = [params[0], params[2]], [params[1], params[3], params[4], params[5]]
    given: dict[str, Any] = {"weight_decay": 0.01, "adjust_lr_fn": "match_rms_adamw"} | options
    muon = torch.optim.Muon(matrices, lr=0.02, **given)
    adamw = torch.optim.AdamW(rest, lr=0.02, weight_decay=given["weight_decay"], foreach=False)
    wanted = train(theirs, Both(muon, adamw), steps=5)  # type: ignore[arg-type]
    close(got, wanted)


class Both:
    """Two optimizers stepped one after the other."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()


def test_muon_takes_hidden_matrices_and_leaves_the_output_layer() -> None:
    weights = list(mlp().parameters())
    matrices, rest = split_matrices([{"params": weights[:3]}, {"params": weights[3:], "lr": 0.5}])
    assert [[tuple(p.shape) for p in group["params"]] for group in matrices] == [[(16, 72), (8, 16)]]
    assert [len(group["params"]) for group in rest] == [1, 3]
    assert rest[1]["lr"] == 0.5


def test_muon_without_a_hidden_matrix_is_refused() -> None:
    with pytest.raises(IncompatibleModel, match=r"shape \[3, 4\](.|\n)*use adamw"):
        optimizers.muon(nn.Linear(4, 3).parameters())


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


Build = Callable[..., Optimizer]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "muon"])
def test_a_loaded_state_goes_on_to_the_same_bits(name: str) -> None:
    build: Build = getattr(optimizers, name)
    options = {"momentum": 0.9} if name == "sgd" else {}
    whole, parted = network(), network()
    wanted = train(whole, build(whole.parameters(), **options), steps=6)
    first = build(parted.parameters(), **options)
    train(parted, first, steps=3)
    second = build(parted.parameters(), **options)
    second.load_state_dict(saved(first.state_dict()))
    got = train(parted, second, steps=3, first=3)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_muons_two_parts_follow_its_groups_after_loading() -> None:
    model = mlp()
    optimizer = optimizers.muon(model.parameters(), lr=0.02)
    train(model, optimizer, steps=1)
    optimizer.load_state_dict(saved(optimizer.state_dict()))
    before = [p.detach().clone() for p in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    after = train(model, optimizer, steps=1)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_muon_calls_a_closure_once() -> None:
    model, calls = mlp(), []
    optimizer = optimizers.muon(model.parameters())

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        model(torch.ones(2, 72)).sum().backward()
        return 1.5

    assert optimizer.step(closure) == 1.5
    assert calls == [True]


def test_muon_works_behind_a_gradient_scaler() -> None:
    """fp16 looks for overflows by the parameter groups."""
    model = mlp()
    optimizer = optimizers.muon(model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    before = [p.detach().clone() for p in model.parameters()]
    scaler.scale(model(torch.full((2, 72), float("inf"))).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    optimizer.zero_grad()
    scaler.scale(model(torch.ones(2, 72)).sum()).backward()
    scaler.step(optimizer)
    assert not any(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
