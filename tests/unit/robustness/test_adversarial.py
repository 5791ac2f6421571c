"""Training against attacks: what is learnt from, what is left alone, and that it helps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from nnray.data.splits import DataInfo
from nnray.robustness.adversarial import adversarial, trades
from nnray.robustness.curve import attack_all
from nnray.robustness.gradient import pgd
from nnray.robustness.space import exact_norms, space_of
from nnray.seeding import torch_seeded
from nnray.tasks.classification import classification
from tests.unit.robustness.trained import INFO, VECTORS, images, of_images, of_vectors, vectors

TASK = classification(INFO)
LOSSES = {"adversarial": adversarial, "trades": trades}
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def made(name: str, info: DataInfo = INFO, **options: Any) -> Any:
    return LOSSES[name](classification(info), info=info, **{"epsilon": 0.1, "steps": 2, **options})


class Seen(nn.Module):
    """Keeps what a network is given, and in which mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, []

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls.append((inputs.detach().clone(), self.training))
        outputs: Tensor = self.net(inputs)
        return outputs


@pytest.fixture
def seen() -> Any:
    import copy

    return Seen(copy.deepcopy(of_images())).train()


def test_it_learns_from_moved_inputs_alone(seen: Seen) -> None:
    batch = images(32)
    with torch_seeded(0):
        outputs, loss = made("adversarial")(seen, batch.inputs, batch.targets)
    learnt, training = seen.calls[-1]
    assert training
    assert len(learnt) == 32
    apart = exact_norms(batch.inputs, learnt, norm="linf", space=space_of(INFO))
    assert 0.05 < float(apart.min()) <= float(apart.max()) <= 0.1
    assert learnt.min() >= 0 and learnt.max() <= 1
    torch.testing.assert_close(loss, cross_entropy(outputs, batch.targets))
    assert len(seen.calls) == 3


def test_a_share_of_the_loss_is_on_inputs_as_they_are(seen: Seen) -> None:
    batch = images(16)
    seen.net.eval()
    with torch_seeded(0):
        outputs, loss = made("adversarial", clean=0.25)(seen, batch.inputs, batch.targets)
    both = seen.calls[-1][0]
    assert torch.equal(both[16:], batch.inputs)
    on_clean = cross_entropy(of_images()(batch.inputs), batch.targets)
    torch.testing.assert_close(loss, 0.75 * cross_entropy(outputs, batch.targets) + 0.25 * on_clean)


def test_trades_adds_what_lies_between_outputs(seen: Seen) -> None:
    batch = images(16)
    seen.eval()
    with torch_seeded(0):
        outputs, loss = made("trades", beta=3.0)(seen, batch.inputs, batch.targets)
    moved = seen.calls[-1][0][:16]
    clean, bad = of_images()(batch.inputs).log_softmax(1), of_images()(moved).log_softmax(1)
    apart = kl_div(bad, clean, reduction="batchmean", log_target=True)
    torch.testing.assert_close(outputs, of_images()(batch.inputs))
    torch.testing.assert_close(loss, cross_entropy(outputs, batch.targets) + 3.0 * apart)
    assert apart > 0.01


@every_loss
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_network_is_attacked_in_the_mode_that_is_asked_for(seen: Seen, name: str, mode: str) -> None:
    batch = images(16)
    made(name, mode=mode)(seen, batch.inputs, batch.targets)
    assert {training for _, training in seen.calls[:-1]} == {mode == "train"}
    assert seen.calls[-1][1]
    assert all(module.training for module in seen.modules())


@every_loss
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_batch_norm_remembers_the_pass_that_is_learnt_from_and_no_other(
    seen: Seen, name: str, mode: str
) -> None:
    norm = seen.net[1]  # type: ignore[index]
    before = int(norm.num_batches_tracked)
    batch = images(16)
    made(name, mode=mode, steps=4)(seen, batch.inputs, batch.targets)
    assert int(norm.num_batches_tracked) == before + 1


@every_loss
def test_only_the_loss_gives_gradients_to_the_network(seen: Seen, name: str) -> None:
    batch = images(16)
    _, loss = made(name)(seen, batch.inputs, batch.targets)
    assert all(parameter.grad is None for parameter in seen.parameters())
    loss.backward()
    assert all(parameter.grad is not None for parameter in seen.parameters())
    assert batch.inputs.grad is None


@every_loss
def test_draws_are_torchs_own_so_that_training_seeds_them(name: str) -> None:
    batch, losses = images(16), []
    for seed in (1, 1, 2):
        with torch_seeded(seed):
            losses.append(made(name)(of_images(), batch.inputs, batch.targets)[1].detach())
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


@every_loss
def test_vectors_move_in_deviations_and_what_is_missing_stays(name: str) -> None:
    examples, net = vectors(64), Seen(of_vectors())
    examples.inputs[::3, 2] = torch.nan
    with torch_seeded(0):
        _, loss = made(name, VECTORS, epsilon=0.5)(net, examples.inputs, examples.targets)
    moved = net.calls[-1][0][:64]
    apart = ((moved - examples.inputs) / torch.tensor(VECTORS.std)).nan_to_num(0.0).abs()
    assert loss.isfinite()
    assert torch.equal(moved.isnan(), examples.inputs.isnan())
    assert 0.4 < float(apart.amax()) <= 0.5
    assert apart[1, 2] > 0


@every_loss
def test_mixed_targets_are_fine(name: str) -> None:
    batch = images(16)
    mixed = torch.rand(16, 10).softmax(1)
    assert made(name)(of_images(), batch.inputs, mixed)[1].isfinite()


def accuracy(net: nn.Module, epsilon: float) -> float:
    batch = images(200)
    found = attack_all(
        net, [(batch.inputs, batch.targets)],
        attack=pgd(steps=10), epsilons=(epsilon,), space=space_of(INFO), seed=0,
    )  # fmt: skip
    return found.accuracies[1]


@every_loss
def test_what_is_trained_against_attacks_withstands_them(name: str) -> None:
    from nnray.data.digits import digits
    from nnray.data.splits import Examples

    train = digits().train
    assert isinstance(train, Examples)
    with torch_seeded(0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        loss_fn = made(name, epsilon=0.15, steps=3)
        for _ in range(250):
            batch = train.take(torch.randint(len(train), (64,)))
            optimizer.zero_grad()
            loss_fn(net, batch.inputs, batch.targets)[1].backward()
            optimizer.step()
    assert accuracy(net, 0.15) > accuracy(of_images(), 0.15) + 0.25


@every_loss
def test_training_that_is_interrupted_comes_to_the_same_weights(name: str) -> None:
    from nnray.assembly import Assembly, assemble
    from nnray.config import parse
    from nnray.training.loop import fit

    def assembled() -> Assembly:
        return assemble(
            parse(
                {
                    "name": "hard",
                    "data": {"name": "digits", "limit": 300},
                    "model": {"name": "simple_cnn", "dropout": 0.2, "norm": "batch"},
                    "loss": {"name": name, "epsilon": 0.1, "steps": 2, "mode": "train"},
                }
            )
        )

    def trained(made: Assembly, epochs: int) -> Assembly:
        common: dict[str, Any] = {"task": made.task, "evaluate": made.evaluate, "loss_fn": made.loss_fn}
        assert list(fit(made.state, made.train, epochs=epochs, seed=7, **common))
        return made

    whole, half, rest = trained(assembled(), 3), trained(assembled(), 1), assembled()
    rest.state.load_state_dict(half.state.state_dict())
    again = trained(rest, 3).state.model.state_dict()
    for key, value in whole.state.model.state_dict().items():
        assert torch.equal(again[key], value), key
