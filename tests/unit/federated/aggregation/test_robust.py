"""A robust rule around a strategy: what the step is told, what is remembered, what is refused."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.catalog import CATALOG
from nnray.errors import ClientFailure
from nnray.federated.aggregation.aggregator import Aggregator
from nnray.federated.aggregation.coordinates import mean, median, trimmed_mean
from nnray.federated.aggregation.geometric import geometric_median
from nnray.federated.aggregation.krum import krum, multi_krum
from nnray.federated.aggregation.norms import centered_clip, fltrust, norm_clip
from nnray.federated.aggregation.robust import Robust, problems
from nnray.federated.codecs.compressed import Compressed
from nnray.federated.codecs.sparse import top_k
from nnray.federated.rehearsal import SIZE, SLOTS
from nnray.federated.rounds import Policy, RoundReport
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fedavgm import fedavgm
from nnray.federated.strategies.feddyn import feddyn
from nnray.federated.strategies.fednova import fednova
from nnray.federated.strategies.fedper import fedper
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Strategy, Vectors, Weighted, traits
from nnray.seeding import torch_rng
from nnray.testing import check_strategy
from tests.unit.federated.hostile import EVERYBODY, play
from tests.unit.federated.small import Mean


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_rng(seed, "draw", *shape))


def means_of(x: Tensor, *, clients: tuple[int, ...] | None = None, name: str = "delta") -> Means:
    messages = tuple(Message({name: Weighted(row, float(place + 1))}) for place, row in enumerate(x))
    who = clients or tuple(range(len(x)))
    return Means({name: x.double().mean(0)}, {}, len(x), 20, messages, who, 4)


def params_of(reports: list[RoundReport]) -> Tensor:
    return reports[-1].state.weights.params


RULES: list[Aggregator] = [
    mean(),
    median(),
    trimmed_mean(beta=0.2),
    geometric_median(),
    krum(num_byzantine=2),
    multi_krum(num_byzantine=2),
    norm_clip(),
    centered_clip(),
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.title)


@pytest.mark.parametrize("rule", [*RULES[:4], norm_clip(), centered_clip()], ids=lambda rule: rule.title)
@pytest.mark.parametrize("make", [fedavg, fedavgm, scaffold, feddyn])
def test_a_strategy_with_a_rule_around_it_obeys_the_laws_of_strategies(rule: Aggregator, make: Any) -> None:
    check_strategy(lambda: Robust(make(), rule))


@every_rule
def test_a_rule_needs_all_messages_and_leaves_other_traits(rule: Aggregator) -> None:
    said = traits(Robust(scaffold(), rule))
    assert said.collects
    assert replace(said, collects=False) == traits(scaffold())
    assert Robust(scaffold(), rule).has_client_state


@every_rule
def test_the_step_is_told_what_the_rule_makes_of_the_messages(rule: Aggregator) -> None:
    x, params = draw(7, 5), draw(5, seed=1)
    stepped, _ = Robust(fedavg(), rule).step(params, means_of(x), server={})
    made = rule(x, weights=[1.0, 2, 3, 4, 5, 6, 7])
    assert torch.equal(stepped, (params.double() + made).float())
    assert float(made.norm()) > 0.01


def test_each_vector_is_ruled_by_itself() -> None:
    deltas, variates = draw(5, 3), draw(5, 3, seed=1)
    messages = tuple(
        Message({"delta": Weighted(delta), "variate": Weighted(variate)})
        for delta, variate in zip(deltas, variates, strict=True)
    )
    means = Means({"delta": deltas[0], "variate": variates[0]}, {}, 5, 10, messages, tuple(range(5)), 1)
    params, state = Robust(scaffold(), median()).step(
        torch.zeros(3), means, server={"variate": torch.zeros(3)}
    )
    assert torch.equal(params, deltas.median(0).values)
    torch.testing.assert_close(state["variate"], variates.median(0).values / 2)


def test_the_mean_as_a_rule_is_as_no_rule() -> None:
    plain, ruled = params_of(play(fedavg())), params_of(play(Robust(fedavg(), mean())))
    torch.testing.assert_close(ruled, plain, rtol=1e-6, atol=1e-7)


@every_rule
def test_the_bits_are_the_same_for_any_number_of_workers(rule: Aggregator) -> None:
    found = [params_of(play(Robust(fedavg(), rule), workers=number)) for number in (1, 2, 4)]
    assert all(torch.equal(other, found[0]) for other in found)


@every_rule
def test_rounds_go_on_where_they_stood(rule: Aggregator) -> None:
    reports = play(Robust(fedavgm(), rule), num_rounds=4)
    again = play(Robust(fedavgm(), rule), num_rounds=4, state=reports[1].state)
    assert torch.equal(params_of(again), params_of(reports))
    assert again[-1].state.server.keys() == reports[-1].state.server.keys()


def test_what_came_out_is_remembered_beside_what_the_strategy_keeps() -> None:
    strategy, x = Robust(fedavgm(), centered_clip()), draw(5, 3)
    params = torch.zeros(3)
    before = strategy.server_state(params)
    assert "robust/delta" not in before
    params, first = strategy.step(params, means_of(x), server=before)
    assert first["robust/delta"].dtype == torch.float32
    assert first.keys() == {*before, "robust/delta"}
    _, second = strategy.step(params, means_of(x + 9), server=first)
    expected = centered_clip()(x + 9, reference=first["robust/delta"])
    assert torch.equal(second["robust/delta"], expected.float())
    assert not torch.equal(expected, centered_clip()(x + 9))
    _, forgets = Robust(fedavgm(), median()).step(params, means_of(x), server=before)
    assert forgets.keys() == before.keys()


@dataclass(frozen=True)
class Nosy(Mean):
    """Fails where it is given what is not its own."""

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        assert not server, sorted(server)
        return replace(super().message(update, server=server, client=client), numbers={})


def test_the_strategy_inside_is_not_told_what_the_rule_remembers() -> None:
    def pull(server: Vectors, client: Vectors) -> Pull:
        assert not server, sorted(server)
        return Pull()

    reports = play(Robust(Nosy(pull_by=pull), centered_clip()))
    assert "robust/delta" in reports[-1].state.server


def test_a_round_to_which_nobody_came_goes_to_the_strategy_as_it_is() -> None:
    class Counts(Mean):
        steps_empty = True

        def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
            assert not means.vectors
            return params + 1, {}

    strategy = Robust(Counts(), krum(num_byzantine=1))
    assert traits(strategy).steps_empty
    params, state = strategy.step(torch.zeros(2), Means({}, {}, 0, 9), server={"robust/delta": torch.ones(2)})
    assert torch.equal(params, torch.ones(2))
    assert state.keys() == {"robust/delta"}


def test_the_root_is_what_others_are_measured_by_and_none_of_them() -> None:
    x = draw(4, 3)
    means = means_of(x, clients=(2, 5, 7, 8))
    seen = []

    class Sees(Mean):
        def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
            seen.append(means)
            return super().step(params, means, server=server)

    params, _ = Robust(Sees(), fltrust(root_client=5)).step(torch.zeros(3), means, server={})
    expected = fltrust()(x[[0, 2, 3]], reference=x[1])
    assert torch.equal(params, expected.float())
    assert (seen[0].num_clients, seen[0].clients, len(seen[0].messages)) == (3, (2, 7, 8), 3)


def test_a_round_without_its_root_is_given_up_with_the_reason() -> None:
    strategy = Robust(fedavg(), fltrust(root_client=5))
    with pytest.raises(ClientFailure, match=r"fltrust.*client 5.*round 4.*another root_client"):
        strategy.step(torch.zeros(3), means_of(draw(3, 3)), server={})
    with pytest.raises(ClientFailure, match=r"needs 1 updates .*got 0"):
        strategy.step(torch.zeros(3), means_of(draw(1, 3), clients=(5,)), server={})
    assert len(play(Robust(fedavg(), fltrust(root_client=5)))) == 3
    with pytest.raises(ClientFailure, match="client 5"):
        play(Robust(fedavg(), fltrust(root_client=5)), cohort=(0, 1, 2))


def test_a_round_of_too_few_is_given_up_with_the_numbers() -> None:
    strategy = Robust(fedavg(), krum(num_byzantine=3))
    assert len(play(strategy)) == 3
    with pytest.raises(ClientFailure, match=r"krum \(num_byzantine 3\) needs 9 .*got 8"):
        play(strategy, cohort=EVERYBODY[:8])


def test_a_rule_works_on_what_came_where_clients_drop_out() -> None:
    poisoned = play_with_nan(Robust(fedavg(), krum(num_byzantine=2)), nan=(1, 4))
    assert [len(report.reports) for report in poisoned] == [7, 7, 7]
    assert torch.isfinite(params_of(poisoned)).all()
    with pytest.raises(ClientFailure, match=r"needs 7 .*got 6"):
        play_with_nan(Robust(fedavg(), krum(num_byzantine=2)), nan=(1, 4, 6))


def play_with_nan(strategy: Strategy, *, nan: tuple[int, ...]) -> list[RoundReport]:
    class Broken(Robust):
        def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
            message = super().message(update, server=server, client=client)
            if update.client not in nan:
                return message
            return replace(message, vectors={"delta": Weighted(torch.full_like(update.delta, torch.nan))})

    assert isinstance(strategy, Robust)
    return play(Broken(strategy.inner, strategy.aggregator), policy=Policy(on_error="drop"))


def test_what_is_not_finite_is_refused_before_a_rule_sees_it() -> None:
    reports = play_with_nan(Robust(fedavg(), median()), nan=(3,))
    assert {fault.failed.client for report in reports for fault in report.faults} == {3}
    assert all("not finite" in fault.failed.error for report in reports for fault in report.faults)


def test_float_buffers_are_averaged_as_without_a_rule() -> None:
    reports = play(Robust(fedavg(), median()), num_rounds=1, norm=True)
    plain = play(fedavg(), num_rounds=1, norm=True)
    assert torch.equal(reports[-1].state.weights.floats, plain[-1].state.weights.floats)
    assert not torch.equal(params_of(reports), params_of(plain))


def test_only_strategies_that_send_vectors_alone_take_a_rule() -> None:
    found = {}
    for name, where in CATALOG["strategy"].items():
        module, _, function = where.partition(":")
        options = {"server_optimizer": lambda params: torch.optim.SGD(params, lr=1.0)}
        makes = getattr(import_module(module), function)
        found[name] = problems(makes(**options) if name == "fedopt" else makes())
    refused = {name for name, why in found.items() if why}
    assert {"central", "local", "fednova", "qfedavg"} <= refused
    assert not {"fedavg", "fedprox", "fedopt", "fedadam", "scaffold", "feddyn", "fedsgd"} & refused
    assert "reach" in found["fednova"][0]
    assert "bend" in found["qfedavg"][0]
    assert "take fedavg" in found["qfedavg"][0]
    assert "updates of clients" in found["central"][0]


def test_a_strategy_that_knows_the_model_takes_a_rule() -> None:
    assert problems(fedper(slots=SLOTS), size=SIZE) == []
    assert problems(Compressed(fedavg(), top_k(), slots=SLOTS), size=SIZE) == []
    assert len(problems(Compressed(fednova(), top_k(), slots=SLOTS), size=SIZE)) == 1


def test_it_goes_to_a_worker() -> None:
    strategy = Robust(scaffold(), krum(num_byzantine=2))
    there = pickle.loads(pickle.dumps(strategy))
    assert traits(there) == traits(strategy)
    assert there.aggregator.fewest == 7
