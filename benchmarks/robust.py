"""Claim: where 30 % of clients attack, a robust rule holds accuracy within 2 points of the clean run's mean.

MNIST by 40 clients, all of them in every round, of whom 12 attack in one of seven ways; MLP 784-64-10. A cell
is the accuracy on the test split after the last round, in %, the mean over seeds; for the backdoor also how
many of the stamped test images of other classes the model takes for the target. Rounds are the engine's, in
this process; rules and attacks are those of the catalog, with keys as the table states them. Bulyan stands
fewer than a quarter of liars: it is told of 9, and meets 12.

    NNRAY_DATA=... python benchmarks/robust.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from _machine import row

if TYPE_CHECKING:
    from nnray.config import Experiment
    from nnray.data.splits import Examples
    from nnray.federated.attacks.attack import Attack
    from nnray.federated.rounds import RoundState
    from nnray.federated.strategy import Strategy
    from nnray.runners.federated.setting import Setting

CLIENTS, FRACTION, LIARS, WITHIN = 40, 0.3, 12, 2.0
ATTACKS: Mapping[str, Mapping[str, Any] | None] = {
    "none": None,
    "label_flip": {"name": "label_flip"},
    "sign_flip": {"name": "sign_flip", "factor": 5.0},
    "gaussian": {"name": "gaussian", "std": 1.0},
    "scale": {"name": "scale", "factor": 30.0},
    "alie": {"name": "alie", "z": 1.5},
    "inner_product": {"name": "inner_product", "epsilon": 5.0},
    "backdoor": {"name": "backdoor", "factor": 3.0},
}
RULES: Mapping[str, Mapping[str, Any]] = {
    "mean": {"name": "mean"},
    "median": {"name": "median"},
    "trimmed_mean": {"name": "trimmed_mean", "beta": 0.3},
    "geometric_median": {"name": "geometric_median"},
    "krum": {"name": "krum", "num_byzantine": LIARS},
    "multi_krum": {"name": "multi_krum", "num_byzantine": LIARS},
    "bulyan": {"name": "bulyan", "num_byzantine": 9},
    "norm_clip": {"name": "norm_clip"},
    "centered_clip": {"name": "centered_clip"},
    "fltrust": {"name": "fltrust"},
}


@dataclass(frozen=True, slots=True)
class Figure:
    """What a run came to, in %.

    Args:
        accuracy: On the test split.
        success: Of the backdoor; None where there is none.
    """

    accuracy: float
    success: float | None = None


def experiment(*, seed: int, rounds: int, partition: str) -> Experiment:
    """What all runs have in common."""
    from nnray import config

    return config.parse(
        {
            "name": "robust",
            "seed": seed,
            "data": {"name": "mnist", "limit": 20_000, "validation": 0},
            "model": {"name": "mlp", "hidden": [64]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "training": {"threads": 1},
            "federated": {
                "partition": partition,
                "clients": CLIENTS,
                "rounds": rounds,
                "local_steps": 10,
                "batch_size": 32,
                "workers": 0,
            },
        }
    )


def run(setting: Setting, rule: Mapping[str, Any], attack: Mapping[str, Any] | None) -> Figure:
    """Train with a rule under an attack, and measure."""
    from nnray.federated.aggregation.robust import Robust
    from nnray.federated.attacks.attack import Attack, draw_attackers
    from nnray.federated.attacks.attacked import Attacked, altered_examples
    from nnray.registry import build
    from nnray.runners.federated.setting import make_strategy

    seed = setting.experiment.seed
    aggregator = build("aggregator", rule)
    does = Attack() if attack is None else build("client_attack", attack, setting.info, seed=seed)
    honest = () if aggregator.root is None else (aggregator.root,)
    attackers = draw_attackers(CLIENTS, fraction=FRACTION, seed=seed, honest=honest)
    inner = Robust(make_strategy(setting.experiment), aggregator)
    strategy = Attacked(inner, does, attackers=attackers)
    alter = altered_examples(does, attackers=attackers, before=None)
    return measure(setting, train(setting, strategy, alter), does)


def train(setting: Setting, strategy: Strategy, alter: Any) -> RoundState:
    """The engine's rounds, every client in each."""
    import numpy as np

    from nnray.federated.client import ClientTrainer
    from nnray.federated.rounds import RoundState, rounds
    from nnray.federated.sampling import Cohort
    from nnray.federated.strategy import traits
    from nnray.runners.federated.setting import build_flat, first_weights, local_training

    trainer = ClientTrainer(
        build_flat(setting).module,
        strategy,
        examples=setting.train,
        population=setting.population,
        local=local_training(setting, traits(strategy)),
        alter=alter,
    )
    everybody = Cohort(np.arange(CLIENTS), np.array([], dtype=np.int64))
    weights = first_weights(setting)
    state = RoundState(0, weights, strategy.server_state(weights.params))
    ran = rounds(
        state,
        strategy,
        num_rounds=setting.federated.rounds,
        draw=lambda number: everybody,
        train_clients=lambda start, clients: trainer.run(start, clients, states={}),
        population=CLIENTS,
    )
    for report in ran:
        state = report.state
    return state


def measure(setting: Setting, state: RoundState, attack: Attack) -> Figure:
    """Accuracy on the test split, and on what a backdoor is measured by."""
    from nnray.federated.attacks.attack import stamped
    from nnray.runners.federated.setting import module_of

    module, test = module_of(setting, state.weights), setting.splits["test"]
    success = None if attack.trigger is None else accuracy(module, stamped(test, attack))
    return Figure(accuracy(module, test), success)


def accuracy(module: Any, examples: Examples) -> float:
    """Of a model on examples, in %."""
    import torch

    from nnray.data.batches import as_float

    with torch.no_grad():
        found = module(as_float(examples.inputs)).argmax(1)
    return 100 * float((found == examples.targets).float().mean())


def grid(options: argparse.Namespace) -> dict[tuple[str, str], list[Figure]]:
    """Every rule under every attack, for every seed. A run that diverges has learnt nothing."""
    import torch

    from nnray.assembly import load_data
    from nnray.errors import ClientFailure, DivergedError
    from nnray.runners.federated.setting import make_setting

    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[Figure]] = {}
    for seed in range(options.seeds):
        made = experiment(seed=seed, rounds=options.rounds, partition=options.partition)
        setting = make_setting(made, load_data(made))
        for attack in options.attacks:
            for rule in options.rules:
                began = time.perf_counter()
                try:
                    figure = run(setting, RULES[rule], ATTACKS[attack])
                except (ClientFailure, DivergedError) as error:
                    print(str(error).splitlines()[0], file=sys.stderr)
                    figure = Figure(10.0)
                found.setdefault((attack, rule), []).append(figure)
                seconds = time.perf_counter() - began
                print(
                    f"seed {seed} {attack:14} {rule:17} {figure} {seconds:.1f} s", file=sys.stderr, flush=True
                )
    return found


def shown(figures: Sequence[Figure]) -> str:
    """A cell: accuracy, and in brackets the success of a backdoor."""
    successes = [figure.success for figure in figures if figure.success is not None]
    text = f"{mean(figure.accuracy for figure in figures):.1f}"
    return f"{text} ({mean(successes):.0f})" if successes else text


def table(found: Mapping[tuple[str, str], Sequence[Figure]], *, attacks: Sequence[str]) -> str:
    """For jobs/LOG.md: a row for each attack, a column for each rule."""
    rules = list(dict.fromkeys(rule for _, rule in found))
    lines = ["| 30 % attack | " + " | ".join(rules) + " |", "|---" * (len(rules) + 1) + "|"]
    for attack in attacks:
        keys = ", ".join(f"{key} {value}" for key, value in (ATTACKS[attack] or {}).items() if key != "name")
        cells = " | ".join(shown(found[attack, rule]) for rule in rules)
        lines.append(f"| {attack}{f' ({keys})' if keys else ''} | {cells} |")
    return "\n".join(lines)


def verdicts(found: Mapping[tuple[str, str], Sequence[Figure]], *, attacks: Sequence[str]) -> list[str]:
    """For each attack: what the mean comes to, and which rules hold."""

    def level(attack: str, rule: str) -> float:
        return mean(figure.accuracy for figure in found[attack, rule])

    clean = level("none", "mean")
    lines = []
    for attack in (name for name in attacks if name != "none"):
        rules = [rule for other, rule in found if other == attack and rule != "mean"]
        hold = [rule for rule in rules if level(attack, rule) >= clean - WITHIN]
        word = "met" if hold else "MISSED"
        lines.append(
            f"{attack}: the mean falls from {clean:.1f} to {level(attack, 'mean'):.1f};"
            f" within {WITHIN:g} points: {', '.join(hold) or 'none'}: {word}"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--partition", default="iid", help="name of the partition")
    options = parser.parse_args(arguments)
    if "none" not in options.attacks or "mean" not in options.rules:
        parser.error("the attack none and the rule mean are what all else is measured by: name them, too")
    found = grid(options)
    print(table(found, attacks=options.attacks))
    print("\n".join(verdicts(found, attacks=options.attacks)))
    what = f"robust.py, {options.partition}, {options.rounds} rounds"
    print(row(what, "the table above", f"n = {options.seeds}, seeds 0 to {options.seeds - 1}"))


if __name__ == "__main__":
    main()
