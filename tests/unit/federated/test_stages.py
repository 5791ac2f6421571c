"""Clients that train in stages: what is frozen, how long each lasts, what is drawn, sent and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from nnray.errors import ConfigError, DivergedError
from nnray.federated.client import ClientTrainer
from nnray.federated.codecs.compressed import Compressed
from nnray.federated.codecs.sparse import top_k
from nnray.federated.outcome import BUFFERS, FLOATS, INTS, RoundStart
from nnray.federated.pulled import frozen
from nnray.federated.strategies.baselines import local as local_strategy
from nnray.federated.strategies.ditto import ditto
from nnray.federated.strategies.fedbn import fedbn
from nnray.federated.strategies.fedper import fedper
from nnray.federated.strategies.fedrep import fedrep
from nnray.federated.strategies.personal import matching
from nnray.federated.strategies.pfedme import pfedme
from nnray.federated.strategy import Pull, Stage, Strategy, Vectors, has_personal, personal_params, traits
from nnray.federated.weights import FlatModel, Slot
from tests.unit.federated.small import Mean, loss_fn, model, trainer

SLOTS = FlatModel(model()).slots
NORM_SLOTS = FlatModel(model(norm=True)).slots


@dataclass(frozen=True)
class InStages(Mean):
    """Pulls of a list, one after the other."""

    pulls: tuple[Pull, ...] = (Pull(),)
    has_client_state: bool = True
    seen: Callable[[Stage], None] = lambda stage: None
    is_staged: ClassVar[bool] = True

    def next_pull(self, stage: Stage, *, server: Vectors, client: Vectors) -> Pull | None:
        self.seen(stage)
        return self.pulls[stage.number] if stage.number < len(self.pulls) else None


def start_of(crew: ClientTrainer, round_: int = 1) -> RoundStart:
    return RoundStart(round=round_, weights=crew.flat.weights())


def part(name: str, vector: Tensor, slots: Sequence[Slot] = SLOTS) -> Tensor:
    return next(slot.of(vector) for slot in slots if slot.name == name)


def trained(*pulls: Pull, client: int = 3, **options: Any) -> tuple[ClientTrainer, Any]:
    crew = trainer(strategy=InStages(pulls=pulls), **options)
    return crew, crew.train(start_of(crew), client, state={})


def test_one_plain_stage_is_plain_training_bit_for_bit() -> None:
    _, staged = trained(Pull(), epochs=2)
    plain = trainer(epochs=2)
    expected = plain.train(start_of(plain), 3, state={})
    assert torch.equal(staged.delta, expected.delta)
    assert (staged.loss, staged.num_steps, staged.lr) == (expected.loss, expected.num_steps, expected.lr)
    assert expected.end is None and staged.end is not None
    assert torch.equal(staged.end, plain.flat.params)


def test_a_stage_goes_on_where_the_one_before_ended() -> None:
    stages: list[Stage] = []
    vector = torch.ones_like(FlatModel(model()).params)
    pulls = (Pull(carried={"a": vector}), Pull(carried={"b": 2 * vector}))
    crew = trainer(strategy=InStages(pulls=pulls, seen=stages.append), epochs=3)
    start = start_of(crew)
    update = crew.train(start, 3, state={})
    first, second, last = stages
    assert [stage.number for stage in stages] == [0, 1, 2]
    assert all(stage.start is start.weights.params for stage in stages)
    assert torch.equal(first.params, start.weights.params)
    assert not torch.equal(second.params, first.params)
    assert [set(stage.carried) for stage in stages] == [set(), {"a"}, {"b"}]
    assert torch.equal(update.delta, last.params - second.params)
    assert torch.equal(update.end, last.params)
    assert set(update.carried) == {"b"}
    assert update.num_steps == 2 * first.num_steps


@pytest.mark.parametrize("optimizer", [
    lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda params: torch.optim.AdamW(params, lr=0.1, weight_decay=0.5),
])  # fmt: skip
def test_what_is_frozen_stays_whatever_the_optimizer(optimizer: Any) -> None:
    names = ("0.weight", "3.bias")
    options = {"make_optimizer": optimizer, "l1": 0.1, "max_grad_norm": 1.0, "epochs": 3}
    crew, update = trained(
        Pull(frozen=names, proximal=0.3, drift=torch.ones_like(FlatModel(model()).params)), **options
    )
    for slot in SLOTS:
        moved = bool(slot.of(update.delta).abs().max() > 0)
        assert moved == (slot.name not in names), slot.name
    assert all(param.requires_grad for param in crew.flat.parameters)


def test_after_an_error_nothing_is_frozen() -> None:
    flat = FlatModel(model())
    with frozen(flat, ["0.weight"]):
        assert [param.requires_grad for param in flat.parameters] == [False, True, True, True]
    with pytest.raises(DivergedError), frozen(flat, ["0.weight"]):
        raise DivergedError(1, 1)
    assert all(param.requires_grad for param in flat.parameters)


def test_a_name_that_is_no_parameter_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match=r"no parameters {'body'}"), frozen(FlatModel(model()), ["body"]):
        pass


@pytest.mark.parametrize(
    ("pull", "steps"),
    [
        (Pull(), 6),
        (Pull(epochs=3), 9),
        (Pull(steps=5), 5),
        (Pull(repeat=3), 18),
        (Pull(steps=2, repeat=2), 4),
    ],
)
def test_a_stage_lasts_as_long_as_its_pull_says(pull: Pull, steps: int) -> None:
    """Client 2 has 9 examples, in batches of 4, and two passes."""
    assert trained(pull, client=2, epochs=2)[1].num_steps == steps
    if pull.epochs:
        assert trained(pull, client=2, steps=7)[1].num_steps == steps


def test_repeated_steps_are_on_the_same_batch() -> None:
    batches: list[Tensor] = []

    def noted(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        batches.append(x.clone())
        return loss_fn(module, x, y)

    trained(Pull(steps=2, repeat=3), loss_fn=noted)
    assert all(torch.equal(batches[0], batch) for batch in batches[1:3])
    assert all(torch.equal(batches[3], batch) for batch in batches[4:6])
    assert not torch.equal(batches[0], batches[3])


def test_each_stage_has_draws_and_an_optimizer_of_its_own() -> None:
    orders: list[list[float]] = []

    def noted(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        orders.append(x[:, 0].tolist())
        return loss_fn(module, x, y)

    def with_momentum(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.1, momentum=0.9)

    begin = FlatModel(model()).params.clone()
    options = {"loss_fn": noted, "make_optimizer": with_momentum, "batch_size": None, "epochs": 2}
    _, update = trained(Pull(), Pull(start=begin), **options)
    assert sorted(orders[0]) == sorted(orders[2]) and orders[0] != orders[2]
    _, once = trained(Pull(), **options)
    torch.testing.assert_close(update.delta, once.delta, rtol=0, atol=1e-6)


def test_the_anchor_is_where_the_pull_goes() -> None:
    anchor = torch.zeros_like(FlatModel(model()).params)
    _, there = trained(Pull(proximal=5.0, anchor=anchor), epochs=20)
    _, here = trained(Pull(proximal=5.0), epochs=20)
    assert there.end.norm() < 0.6 * here.end.norm()
    explicit = trained(Pull(proximal=5.0, anchor=start_of(trainer()).weights.params), epochs=20)[1]
    assert torch.equal(explicit.end, here.end)


def test_a_loss_that_is_not_finite_is_told_by_its_step_over_all_stages() -> None:
    wild = torch.full_like(FlatModel(model()).params, 1e38)
    crew = trainer(strategy=InStages(pulls=(Pull(steps=3), Pull(steps=2, start=wild))))
    with pytest.raises(DivergedError, match="step 4"):
        crew.train(start_of(crew), 3, state={})


def test_buffers_of_what_is_apart_are_kept_and_not_sent() -> None:
    plain = trainer(model(norm=True), Mean())
    expected = plain.send(start_of(plain), 3, state={})
    crew = trainer(model(norm=True), InStages(pulls=(Pull(), Pull(apart=True))))
    start = start_of(crew)
    sent = crew.send(start, 3, state={})
    assert torch.equal(sent.message.vectors[BUFFERS].value, expected.message.vectors[BUFFERS].value)
    assert torch.equal(sent.ints, expected.ints)
    floats, ints = crew.flat.buffers()
    assert torch.equal(sent.message.kept[FLOATS], floats) and torch.equal(sent.message.kept[INTS], ints)
    assert int(ints[0]) == int(expected.ints[0]), "the own model's batches are counted from the start"
    again = crew.send(start, 3, state=sent.message.kept)
    assert int(again.message.kept[INTS][0]) == 2 * int(ints[0])
    assert torch.equal(again.message.vectors[BUFFERS].value, sent.message.vectors[BUFFERS].value)


@pytest.mark.parametrize("make", [lambda: fedbn(slots=NORM_SLOTS), local_strategy])
def test_clients_with_buffers_of_their_own_send_none(make: Callable[[], Strategy]) -> None:
    strategy = make()
    crew = trainer(model(norm=True), strategy)
    start = start_of(crew)
    start = replace(start, server=strategy.server_state(start.weights.params))
    outcome = crew.run(start, [1, 3], states={})
    assert outcome.ints is None and BUFFERS not in outcome.sums.vectors
    assert FLOATS in outcome.kept[3]
    again = crew.run(start, [3], states=outcome.kept)
    assert int(again.kept[3][INTS][0]) == 2 * int(outcome.kept[3][INTS][0])
    weights = start.weights.params.nbytes
    expected = 0 if traits(strategy).is_personal else 2 * (weights - 4 * 10)
    assert outcome.bytes_up == expected


CASES: dict[str, Callable[[], Strategy]] = {
    "fedper": lambda: fedper(slots=SLOTS),
    "fedrep": lambda: fedrep(slots=SLOTS, head_epochs=2),
    "ditto": lambda: ditto(lam=0.5),
    "pfedme": lambda: pfedme(lam=1.0, local_lr=0.5, inner_steps=2),
}
every = pytest.mark.parametrize("name", CASES)


@every
def test_a_client_comes_to_the_same_whoever_trained_before(name: str) -> None:
    strategy = CASES[name]()
    crew, other = trainer(strategy=strategy), trainer(strategy=strategy)
    start = start_of(crew)
    first = crew.run(start, [1, 2, 4], states={})
    second = other.run(start, [4], states={}) + other.run(start, [2, 1], states={})
    assert torch.equal(first.sums.vectors["delta"].total, second.sums.vectors["delta"].total)
    for client in (1, 2, 4):
        for key, value in first.kept[client].items():
            assert torch.equal(second.kept[client][key], value)


@every
def test_what_stays_is_not_sent_and_comes_back(name: str) -> None:
    strategy = CASES[name]()
    crew = trainer(strategy=strategy)
    start = start_of(crew)
    sent = crew.send(start, 3, state={})
    own = personal_params(strategy, start.weights.params, client=sent.message.kept)
    assert has_personal(strategy)
    assert not torch.equal(own, start.weights.params)
    assert torch.equal(personal_params(strategy, start.weights.params, client={}), start.weights.params)
    if traits(strategy).is_partial:
        head = sum(slot.size for slot in SLOTS if slot.name.startswith("3."))
        assert sent.message.kept["own"].shape == (head,)
        assert sent.message.num_bytes == start.weights.params.nbytes - 4 * head
        for slot in SLOTS:
            change = slot.of(sent.message.vectors["delta"].value)
            assert bool(change.abs().max() > 0) == slot.name.startswith("0.")
            if slot.name.startswith("0."):
                assert torch.equal(slot.of(own), slot.of(start.weights.params))


@every
def test_it_goes_through_a_codec(name: str) -> None:
    strategy = CASES[name]()
    around = Compressed(strategy, top_k(share=0.1), slots=SLOTS)
    crew = trainer(strategy=around)
    start = start_of(crew)
    first = crew.send(start, 3, state={})
    second = crew.send(start, 3, state=first.message.kept)
    assert "residual/delta" in first.message.kept
    plain = trainer(strategy=strategy).send(start, 3, state={})
    for key, value in plain.message.kept.items():
        assert torch.equal(first.message.kept[key], value)
    assert has_personal(around)
    own = personal_params(around, start.weights.params, client=second.message.kept)
    assert not torch.equal(own, start.weights.params)


@pytest.mark.parametrize(
    ("patterns", "own"),
    [
        (None, {"3.weight", "3.bias"}),
        (["0.*"], {"0.weight", "0.bias"}),
        (["*.bias"], {"0.bias", "3.bias"}),
        (["0.weight", "3.b*"], {"0.weight", "3.bias"}),
    ],
)
def test_patterns_choose_parameters(patterns: list[str] | None, own: set[str]) -> None:
    chosen = matching(SLOTS, patterns)
    assert {slot.name for slot in chosen.own} == own
    assert {slot.name for slot in chosen.others} == {slot.name for slot in SLOTS} - own


def test_a_part_is_taken_and_put_back() -> None:
    chosen = matching(SLOTS, ["0.bias", "3.weight"])
    vector = torch.randn(FlatModel(model()).params.shape)
    own = chosen.take(vector)
    assert own.tolist() == [*part("0.bias", vector).tolist(), *part("3.weight", vector).flatten().tolist()]
    cleared = chosen.clear(vector)
    assert chosen.take(cleared).abs().max() == 0.0 and torch.equal(
        part("0.weight", cleared), part("0.weight", vector)
    )
    assert torch.equal(chosen.put(cleared, own), vector)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ["head.*"],
            r"strategy.personal: the pattern 'head.\*' matches no parameter: allowed: 0.bias, 0.weight",
        ),
        (["0.weigth"], r"the pattern '0.weigth' matches no parameter: did you mean '0.weight'\?"),
        (["*"], "all 4 parameters would stay with clients.*strategy local"),
        ([], "is empty: name parameters"),
    ],
)
def test_patterns_that_are_no_use_are_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fedper(slots=SLOTS, personal=patterns)


def test_a_model_of_one_layer_has_no_head() -> None:
    with pytest.raises(ConfigError, match="all 2 parameters would stay"):
        fedrep(slots=FlatModel(nn.Linear(3, 2)).slots)


def test_the_last_layer_may_have_any_name() -> None:
    slots = (Slot("a", 0, (1,)), Slot("odd[0]*.weight", 16, (1,)), Slot("odd[0]*.bias", 32, (1,)))
    assert len(matching(slots, None).own) == 2


def test_fedbn_needs_batch_norm() -> None:
    with pytest.raises(ConfigError, match=r"no BatchNorm layer with parameters \(it has Linear\).*fedper"):
        fedbn(slots=SLOTS)
    assert {slot.name for slot in fedbn(slots=NORM_SLOTS).part.own} == {"1.weight", "1.bias"}


def test_slots_know_their_layers() -> None:
    assert [slot.layer for slot in NORM_SLOTS] == ["Linear"] * 2 + ["BatchNorm1d"] * 2 + ["Linear"] * 2


def test_a_strategy_that_was_not_told_the_model_trains_nobody_twice() -> None:
    crew = trainer(strategy=fedper())
    sent = crew.send(start_of(crew), 3, state={})
    with pytest.raises(AssertionError, match="was not told the model's parameters"):
        crew.train(start_of(crew, 2), 3, state=sent.message.kept)


@pytest.mark.parametrize(("local_lr", "lam"), [(0.2, 10.0), (1.0, 2.0)])
def test_copies_that_run_away_are_refused(local_lr: float, lam: float) -> None:
    with pytest.raises(ConfigError, match=f"must be below 2.*got {local_lr} x {lam}"):
        pfedme(local_lr=local_lr, lam=lam)
