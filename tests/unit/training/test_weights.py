"""The name of a set of weights depends on the numbers alone."""

from __future__ import annotations

import hashlib

import torch
from safetensors.torch import load
from torch import nn

from nnray.training.weights import canonical_state, weights_safetensors, weights_sha256


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def test_the_same_numbers_have_the_same_name_whatever_their_layout() -> None:
    plain, other = net(), net().to(memory_format=torch.channels_last).train(False)
    assert not other[0].weight.is_contiguous()  # type: ignore[index,union-attr]
    assert weights_sha256(plain) == weights_sha256(other)


def test_the_order_in_which_modules_were_made_does_not_matter() -> None:
    a, b = nn.Linear(2, 3), nn.Linear(3, 4)
    forwards, backwards = nn.Module(), nn.Module()
    forwards.add_module("a", a)
    forwards.add_module("b", b)
    backwards.add_module("b", b)
    backwards.add_module("a", a)
    assert weights_sha256(forwards) == weights_sha256(backwards)


def test_any_changed_number_changes_the_name() -> None:
    names = {weights_sha256(net())}
    for name, tensor in net().state_dict().items():
        changed = net()
        with torch.no_grad():
            changed.state_dict()[name].view(-1)[:1] += torch.ones((), dtype=tensor.dtype)
        names.add(weights_sha256(changed))
    assert len(names) == 1 + len(net().state_dict())


def test_the_name_is_that_of_the_safetensors_bytes_and_they_hold_the_weights() -> None:
    module = net()
    data = weights_safetensors(module)
    assert hashlib.sha256(data).hexdigest() == weights_sha256(module)
    loaded = load(data)
    assert loaded.keys() == module.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in module.state_dict().items())


def test_a_known_module_has_a_known_name() -> None:
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 2.0]]))
        module.bias.copy_(torch.tensor([3.0]))
    header = b'{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    header += b'"weight":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}'
    header += b" " * (-len(header) % 8)
    numbers = torch.tensor([3.0, 1.0, 2.0]).numpy().tobytes()
    expected = hashlib.sha256(len(header).to_bytes(8, "little") + header + numbers).hexdigest()
    assert weights_sha256(module) == expected


def test_tied_weights_and_gradients_are_no_trouble() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    before = weights_sha256(tied)
    tied(torch.ones(1, 3)).sum().backward()
    assert weights_sha256(tied) == before


def test_the_state_shares_no_memory_with_the_module() -> None:
    module = net()
    before, state = weights_sha256(module), canonical_state(module)
    for tensor in state.values():
        tensor.zero_()
    assert list(state) == sorted(state)
    assert weights_sha256(module) == before
