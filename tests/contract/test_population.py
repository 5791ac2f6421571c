"""The laws of trials that wait for each other, and population based training by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.config import active
from nnray.errors import ConfigError
from nnray.runners.sweep.pbt import Population, Turn
from tests.contract.scheduler_subjects import SPACE, Sweep, make_population, params_of

Curves = list[list[float]]
VALUES = st.integers(0, 20).map(lambda i: i / 20)
CURVES = st.lists(st.lists(VALUES, min_size=1, max_size=10), min_size=2, max_size=10)
GENERATION = st.lists(VALUES, min_size=2, max_size=12)


def waiting(values: list[float], *, seed: int = 0, **keys: Any) -> Population:
    """A population of which all have come to epoch 2, trial ``n`` with the value at ``n``."""
    population = make_population(seed=seed, **keys)
    for trial in range(len(values)):
        population.begin(trial, params_of(trial))
    for trial, value in enumerate(values):
        verdict = population.judge(trial, 2, value)
        assert verdict is not None and verdict.pause and not verdict.stop
    return population


def by_trial(population: Population) -> dict[int, Turn]:
    return {turn.trial: turn for turn in population.due(complete=True)}


@given(curves=CURVES, orders=st.lists(st.integers(0, 2**16), min_size=2, max_size=2))
def test_turns_do_not_depend_on_the_order_of_reports_nor_on_the_number_of_workers(
    curves: Curves, orders: list[int]
) -> None:
    sweeps = [
        Sweep(make_population(), curves, workers, random.Random(order)).play()
        for workers, order in zip((1, 4), orders, strict=True)
    ]
    assert sweeps[0].turns == sweeps[1].turns


@given(curves=CURVES, order=st.integers(0, 2**16), interval=st.integers(1, 4))
def test_every_member_gets_a_turn_at_each_multiple_that_it_comes_to(
    curves: Curves, order: int, interval: int
) -> None:
    sweep = Sweep(make_population(interval=interval), curves, order=random.Random(order)).play()
    expected = {(e, t) for t, curve in enumerate(curves) for e in range(interval, len(curve), interval)}
    assert sweep.turns.keys() == expected
    assert sweep.stopped == {}


@given(values=GENERATION, seed=st.integers(0, 9), data=st.data())
def test_what_is_due_after_a_part_was_taken_is_exactly_the_rest(
    values: list[float], seed: int, data: st.DataObject
) -> None:
    whole = by_trial(waiting(values, seed=seed))
    order = data.draw(st.permutations(sorted(whole)))
    interrupted = waiting(values, seed=seed)
    for taken, trial in enumerate(order):
        assert by_trial(interrupted) == {other: whole[other] for other in order[taken:]}
        interrupted.take(whole[trial])
        assert not interrupted.due(complete=True) or taken < len(order) - 1
    assert interrupted.due(complete=True) == []


@given(values=GENERATION, data=st.data())
def test_who_has_gone_on_may_report_before_the_rest_is_taken(
    values: list[float], data: st.DataObject
) -> None:
    population = waiting(values)
    whole = by_trial(population)
    first = data.draw(st.sampled_from(sorted(whole)))
    population.take(whole.pop(first))
    population.judge(first, 4, data.draw(VALUES))
    assert by_trial(population) == whole


@given(values=GENERATION, seed=st.integers(0, 99))
def test_the_worst_take_from_the_best_and_all_others_keep_their_own(values: list[float], seed: int) -> None:
    turns = by_trial(waiting(values, seed=seed))
    ranked = sorted(range(len(values)), key=lambda trial: (-values[trial], trial))
    cut = max(1, len(values) // 4)
    for trial, turn in turns.items():
        assert turn.epoch == 2
        if trial in ranked[-cut:] and values[trial] < min(values[best] for best in ranked[:cut]):
            assert turn.source in ranked[:cut]
        if trial not in ranked[-cut:]:
            assert turn.source is None
        if turn.source is None:
            assert turn.params == params_of(trial)
        else:
            assert values[turn.source] > values[trial]


@given(values=GENERATION, seed=st.integers(0, 99), probability=st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_taken_is_in_range_and_fits_together(
    values: list[float], seed: int, probability: float
) -> None:
    for turn in by_trial(waiting(values, seed=seed, resample_probability=probability)).values():
        source = params_of(turn.trial if turn.source is None else turn.source)
        assert turn.params.keys() == source.keys()
        assert turn.params["optimizer.name"] == source["optimizer.name"]
        assert turn.params["model.width"] == source["model.width"]
        assert active(turn.params, SPACE) == turn.params
        assert all(SPACE[path].holds(value) for path, value in turn.params.items()), turn.params


@given(values=GENERATION, data=st.data())
def test_a_member_that_ends_does_not_block_the_others(values: list[float], data: st.DataObject) -> None:
    """It ends before it comes to the pause; the turns are those of a population without it."""
    population, without = make_population(), make_population()
    gone = data.draw(st.sampled_from(range(len(values))))
    for trial, value in enumerate(values):
        population.begin(trial, params_of(trial))
        if trial != gone:
            without.begin(trial, params_of(trial))
            population.judge(trial, 2, value)
            without.judge(trial, 2, value)
    assert population.due(complete=True) == []
    population.leave(gone)
    assert by_trial(population) == by_trial(without)
    assert len(population.due(complete=True)) == len(values) - 1


@given(values=GENERATION, data=st.data())
def test_a_member_that_ends_while_turns_are_taken_is_nobody_s_source(
    values: list[float], data: st.DataObject
) -> None:
    population = waiting(values)
    whole = by_trial(population)
    first, gone = data.draw(st.permutations(sorted(whole)))[:2]
    population.take(whole.pop(first))
    population.leave(gone)
    rest = by_trial(population)
    assert rest.keys() == whole.keys() - {gone}
    for trial, turn in rest.items():
        if whole[trial].source == gone:
            assert (turn.source, turn.params) == (None, params_of(trial))
            assert f"trial {gone}" in turn.reason
        else:
            assert turn == whole[trial]


@given(values=GENERATION)
def test_nothing_is_due_while_members_are_to_come(values: list[float]) -> None:
    assert waiting(values).due(complete=False) == []


@given(values=GENERATION, data=st.data())
def test_a_generation_that_has_begun_to_go_on_is_due_even_if_members_are_to_come(
    values: list[float], data: st.DataObject
) -> None:
    """A sweep that is killed then may be resumed with more trials."""
    population = waiting(values)
    whole = by_trial(population)
    first = data.draw(st.sampled_from(sorted(whole)))
    population.take(whole.pop(first))
    assert {turn.trial for turn in population.due(complete=False)} == whole.keys()


@given(values=GENERATION)
def test_members_that_come_later_do_not_wait_for_those_that_are_ahead(values: list[float]) -> None:
    population, late = waiting(values), len(values)
    for turn in population.due(complete=True):
        population.take(turn)
    population.begin(late, params_of(late))
    population.judge(late, 2, 0.5)
    assert [(turn.trial, turn.epoch, turn.source) for turn in population.due(complete=True)] == [
        (late, 2, None)
    ]


@given(values=GENERATION, data=st.data())
def test_turns_do_not_depend_on_the_order_in_which_members_came(
    values: list[float], data: st.DataObject
) -> None:
    """A tie goes to the earlier trial."""
    population = make_population()
    for trial in data.draw(st.permutations(range(len(values)))):
        population.begin(trial, params_of(trial))
        population.judge(trial, 2, values[trial])
    assert population.due(complete=True) == waiting(values).due(complete=True)


@given(values=GENERATION)
def test_members_that_come_later_catch_up_by_themselves(values: list[float]) -> None:
    """With more trials in a sweep that had begun: those ahead wait, those behind don't wait for them."""
    population, late = waiting(values), len(values)
    for turn in population.due(complete=True):
        population.take(turn)
    for trial, value in enumerate(values):
        population.judge(trial, 4, value)
    population.begin(late, params_of(late))
    assert population.due(complete=True) == []
    population.judge(late, 2, 0.5)
    assert [(turn.trial, turn.epoch) for turn in population.due(complete=True)] == [(late, 2)]
    population.take(population.due(complete=True)[0])
    assert population.due(complete=True) == []
    population.judge(late, 4, 0.5)
    assert {turn.trial for turn in population.due(complete=True)} == set(range(late + 1))


def test_seeds_change_what_is_drawn_and_not_who_draws() -> None:
    turns = [by_trial(waiting([0.3, 0.9, 0.1, 0.5, 0.7], seed=seed)) for seed in range(20)]
    assert {tuple(t for t in turn if turn[t].source is not None) for turn in turns} == {(2,)}
    assert len({turn[2].params["optimizer.momentum"] for turn in turns}) > 5


def test_by_hand() -> None:
    """Of four, the worst takes from the best; each number times 0.8 or 1.2, each choice one beside it."""
    turns = by_trial(waiting([0.3, 0.9, 0.1, 0.5], resample_probability=0.0))
    assert list(turns) == [1, 3, 0, 2]
    assert [turn.source for turn in turns.values()] == [None, None, None, 1]
    assert turns[1].reason == "0.9 at epoch 2, 1 of 4: keeps its own"
    assert turns[2].reason == "0.1 at epoch 2, 4 of 4: takes from trial 1, 0.9"
    taken, source = turns[2].params, params_of(1)
    assert taken["optimizer.lr"] in (source["optimizer.lr"] * 0.8, source["optimizer.lr"] * 1.2)
    assert taken["optimizer.momentum"] in (0.9 * 0.8, 0.99)
    assert taken["optimizer.weight_decay"] in (0.0, 0.02)
    assert taken["training.batch_size"] in (16, 64)
    assert taken["model.width"] == source["model.width"]


def test_golden_draws() -> None:
    """What seed 0 gives; a change here changes what every resumed sweep would have drawn."""
    turn = by_trial(waiting([0.3, 0.9, 0.1, 0.5]))[2]
    assert turn.params == {
        "optimizer.name": "sgd",
        "optimizer.momentum": pytest.approx(0.8092182959576626),
        "optimizer.lr": pytest.approx(0.0016),
        "optimizer.weight_decay": 0.0,
        "training.batch_size": 16,
        "model.dropout": pytest.approx(0.04),
        "model.width": 9,
    }


def test_a_member_that_took_goes_on_with_what_it_took() -> None:
    population = waiting([0.9, 0.1], resample_probability=0.0)
    for turn in population.due(complete=True):
        population.take(turn)
    taken = dict(turn.params)
    population.judge(0, 4, 0.1)
    population.judge(1, 4, 0.9)
    turns = by_trial(population)
    assert turns[1].params == taken
    assert turns[0].source == 1
    assert turns[0].params["optimizer.name"] == taken["optimizer.name"]


def test_one_alone_goes_on_as_it_is() -> None:
    assert [turn.source for turn in waiting([0.5]).due(complete=True)] == [None]


def test_only_paths_that_may_change_are_perturbed() -> None:
    population = waiting([0.9, 0.1], mutable=["model.dropout"], resample_probability=0.0)
    turn = by_trial(population)[1]
    assert {path for path, value in params_of(0).items() if turn.params[path] != value} <= {"model.dropout"}


@pytest.mark.parametrize(
    ("mutable", "message"),
    [
        (["optimizer.lrr"], "'optimizer.lrr' is not in sweep.space; did you mean 'optimizer.lr'"),
        (["optimizer.name"], "optimizer.name names a component"),
        ([], "nothing in sweep.space can change"),
    ],
)
def test_a_wrong_path_is_told(mutable: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_population(mutable=mutable)


def test_a_population_of_one_is_refused() -> None:
    from nnray.runners.sweep.pbt import pbt

    with pytest.raises(ConfigError, match=r"at least 2 \(got 1\)"):
        pbt("val_loss", "min", 0, space=SPACE, trials=1)
