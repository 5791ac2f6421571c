"""Parts that learn in turn: as many optimizers as parts, resumed exactly, alone and by clients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.assembly import assemble, build_model
from nnray.config import Experiment, parse
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import ConfigError, IncompatibleModel
from nnray.federated.outcome import RoundStart
from nnray.federated.weights import FlatModel
from nnray.runners.federated.setting import make_setting
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.adversarial_generation import adversarial_generation
from nnray.tasks.turns import Turn, require_parts
from nnray.training.step import supervised
from tests.unit.federated.small import Clients, trainer

INFO = DataInfo("made up", (1, 8, 8), ("a", "b"), (0.5,), (0.2,))
TREE: dict[str, Any] = {
    "name": "a",
    "data": "digits",
    "task": {"name": "adversarial_generation", "critic_steps": 2},
    "model": {"name": "dcgan", "latent": 4, "width": 4},
    "optimizer": {"name": "adam", "lr": 1e-2},
    "training": {"batch_size": 8, "epochs": 4, "device": "cpu"},
}


def examples(count: int = 40) -> Examples:
    inputs = torch.rand(count, 1, 8, 8, generator=torch_rng(0, "images"))
    return Examples(inputs, torch.zeros(count, dtype=torch.int64))


def experiment(**changes: Any) -> Experiment:
    return parse({**TREE, **changes}, source="a.yaml")


def built(**changes: Any) -> Any:
    return assemble(experiment(**changes), DataSplits(examples(), examples(8), None, INFO))


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    data = examples(8 * count)
    return [(data.inputs[i : i + 8], data.targets[i : i + 8]) for i in range(0, 8 * count, 8)]


def train(made: Any, given: list[tuple[Tensor, Tensor]], *, first: int = 0) -> Any:
    """Each batch draws from a seed of its own, so that a resumed training meets the same draws."""
    made.state.model.train()
    for number, (x, y) in enumerate(given, start=first):
        with torch_seeded(0, "batch", number):
            made.step_fn(made.state, x, y, made.loss_fn)
    return made.state


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: param.detach().clone() for name, param in model.named_parameters()}


def require_same(one: dict[str, Tensor], other: dict[str, Tensor], **tolerance: Any) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name, **tolerance)


def by_hand(model: Any, given: list[tuple[Tensor, Tensor]], *, critic_steps: int) -> dict[str, Tensor]:
    """Parameters of two networks that two optimizers train in a loop which knows nothing of turns."""
    task, pair = adversarial_generation(INFO), model.net
    optimizers = [
        torch.optim.Adam(part.parameters(), lr=1e-2, fused=True) for part in (pair.critic, pair.generator)
    ]
    model.train()
    for number, (x, y) in enumerate(given):
        with torch_seeded(0, "batch", number):
            for place in range(2 if (number + 1) % critic_steps == 0 else 1):
                scores = model(x)
                loss = (task._generator(scores) if place else task._critic(scores, y)).mean()
                model.zero_grad()
                torch.autograd.backward(loss)
                optimizers[place].step()
    return parameters(model)


@pytest.mark.parametrize("critic_steps", [1, 2, 3])
def test_it_is_as_many_optimizers_as_there_are_parts(critic_steps: int) -> None:
    task = {"name": "adversarial_generation", "critic_steps": critic_steps}
    made, given = built(task=task), batches(6)
    wanted = by_hand(copy.deepcopy(made.state.model), given, critic_steps=critic_steps)
    state = train(made, given)
    require_same(parameters(state.model), wanted, rtol=1e-4, atol=1e-5)
    assert state.step == 6, "a batch is a step, whoever has learnt from it"


def test_who_isn_t_due_stays_as_it_is_with_its_moments() -> None:
    made = built()
    before = weights(made.state.model)
    state = train(made, batches(1))
    changed = {name for name, value in state.model.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in changed} == {"critic"}
    params = [param for group in state.optimizer.param_groups for param in group["params"]]
    kept = {name for name, param in state.model.named_parameters() if state.optimizer.state.get(param)}
    assert len(params) > len(kept) > 0
    assert all(".critic." in name for name in kept)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_training_comes_to_the_same_bits(stop: int) -> None:
    """Also where it is stopped between two steps of the critic."""
    given = batches(5)
    whole = train(built(), given)
    first = train(built(), given[:stop])
    saved, again = copy.deepcopy(first.state_dict()), built()
    again.state.load_state_dict(saved)
    resumed = train(again, given[stop:], first=stop)
    require_same(weights(resumed.model), weights(whole.model), rtol=0, atol=0)
    left, right = resumed.optimizer.state_dict()["state"], whole.optimizer.state_dict()["state"]
    assert left.keys() == right.keys()


def test_parts_have_rates_of_their_own() -> None:
    slow = built(optimizer={"name": "sgd", "lr": 1e-2, "lr_scale": {"net.generator.*": 0.1}}, task=_ONE)
    plain = built(optimizer={"name": "sgd", "lr": 1e-2}, task=_ONE)
    before = weights(plain.state.model)
    moved = [train(made, batches(1)).model.net.generator.conv2.weight for made in (slow, plain)]
    start = before["net.generator.conv2.weight"]
    torch.testing.assert_close(moved[0] - start, 0.1 * (moved[1] - start), rtol=1e-3, atol=1e-7)


_ONE = {"name": "adversarial_generation", "critic_steps": 1}


@pytest.mark.parametrize("norms", [False, True])
def test_what_is_saved_in_a_turn_changes_no_gradient(norms: bool) -> None:
    kind = "wasserstein" if norms else "logistic"
    norm = "none" if norms else "batch"
    model = build_model(_of(kind, gradient_norms=norms, norm=norm), INFO).train()
    task, (x, y) = adversarial_generation(INFO, loss=kind), batches(1)[0]  # type: ignore[arg-type]
    for turn in task.turns:
        found = []
        for is_announced in (True, False):
            model.zero_grad()
            with torch_seeded(0, "noise"):
                if is_announced:
                    with turn.announced(model):
                        torch.autograd.backward(turn.loss_of(model, x, y)[1])
                else:
                    torch.autograd.backward(turn.loss_of(model, x, y)[1])
            turn.keep_own(model)
            found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        assert found[0]
        require_same(found[0], found[1], rtol=1e-4, atol=1e-6)
    assert all(getattr(module, "turn", None) is None for module in model.modules())


def _of(kind: str, **model: Any) -> Experiment:
    task = {"name": "adversarial_generation", "loss": kind}
    return experiment(task=task, model={"name": "dcgan", "latent": 4, "width": 4, **model})


def test_a_critic_with_a_penalty_trains_too() -> None:
    task = {"name": "adversarial_generation", "loss": "wasserstein", "critic_steps": 2}
    made = built(
        task=task, model={"name": "dcgan", "latent": 4, "width": 4, "norm": "group", "gradient_norms": True}
    )
    before = weights(made.state.model)
    after = weights(train(made, batches(4)).model)
    assert all(value.isfinite().all() for value in after.values())
    assert {name.split(".")[1] for name in after if not torch.equal(after[name], before[name])} == {
        "critic",
        "generator",
    }


def test_a_client_learns_in_turn_as_a_loop_does() -> None:
    """The same batches, the same draws: as the optimizer of a training in one place comes to."""
    model, task = build_model(experiment(), INFO), adversarial_generation(INFO, critic_steps=2)
    begin = FlatModel(copy.deepcopy(model)).weights()
    data = examples(8)
    client = trainer(
        copy.deepcopy(model),
        clients=Clients([range(8)]),
        data=data,
        loss_fn=supervised(task),
        turns=task.turns,
        batch_size=None,
        epochs=3,
    )
    update = client.train(RoundStart(round=1, weights=begin, room=6), 0, state={})
    assert (update.num_steps, update.num_examples) == (3, 8)
    after = FlatModel(model)
    optimizer = torch.optim.SGD(after.parameters, lr=0.1)
    model.train()
    with torch_seeded(0, "client", 1, 0, "dropout"):
        for number in range(3):
            for turn in (turn for turn in task.turns if turn.is_due(number)):
                model.zero_grad()
                torch.autograd.backward(turn.loss_of(model, data.inputs, data.targets)[1])
                optimizer.step()
    torch.testing.assert_close(update.delta, after.params - begin.params, rtol=1e-3, atol=1e-5)
    generator = [slot.of(update.delta) for slot in client.flat.slots if "generator" in slot.name]
    assert any(change.any() for change in generator), "it is due once in the client's steps"


def test_a_part_that_isn_t_there_is_named() -> None:
    net = nn.Sequential()
    net.add_module("critic", nn.Linear(2, 2))
    turns = [Turn("critic", lambda *_: (torch.zeros(1), torch.zeros(1))), Turn("painter", lambda *_: _[1:])]
    with pytest.raises(IncompatibleModel, match=r"no parameters in a module named 'painter'(.|\n)*dcgan"):
        require_parts(turns, net)
    require_parts(turns[:1], net)
    require_parts([], net)


def test_names_are_compared_whole() -> None:
    turn = Turn("critic", lambda *_: (torch.zeros(1), torch.zeros(1)))
    assert turn.learns("net.critic.conv1.weight")
    assert not turn.learns("net.critics.conv1.weight")
    assert not turn.learns("net.generator.critic_like")


def test_no_other_loss_stands_in() -> None:
    made = built()
    x, y = batches(1)[0]
    with pytest.raises(IncompatibleModel, match="a loss beside the task's"):
        made.step_fn(made.state, x, y, supervised(adversarial_generation(INFO)))


def test_what_is_not_defined_for_parts_is_refused_all_at_once() -> None:
    privacy = {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-5, "replace_modules": True}
    with pytest.raises(ConfigError, match=r"privacy.unit: is not possible with task adversarial_generation"):
        built(privacy=privacy, optimizer="sgd")


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_turn_comes_every_so_many_batches(every: int) -> None:
    turn = Turn("a", lambda *_: (torch.zeros(1), torch.zeros(1)), every)
    due = [batch for batch in range(10) if turn.is_due(batch)]
    assert due == list(range(every - 1, 10, every))


@pytest.mark.parametrize(("every", "fits"), [(4, True), (5, False)])
def test_a_part_that_no_client_comes_to_is_refused(every: int, fits: bool) -> None:
    """Four batches of eight of the larger client: batches count anew in each round."""
    made = experiment(
        task={"name": "adversarial_generation", "critic_steps": every},
        federated={"clients": 2, "partition": "iid", "rounds": 1, "workers": 0},
    )
    splits = DataSplits(examples(60), None, None, INFO)
    if fits:
        assert len(make_setting(made, splits).population) == 2
        return
    with pytest.raises(ConfigError, match=r"generator learns from one in 5 batches.* 4 at most"):
        make_setting(made, splits)
