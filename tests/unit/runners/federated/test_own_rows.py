"""What is learnt of a user stays at the user: nothing that a client sends holds a number of a user's row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.assembly import load_data
from nnray.config import Experiment, load, require_federated
from nnray.federated.strategies.fedavg import FedAvg
from nnray.federated.strategies.fedper import FedPer
from nnray.federated.strategy import ClientUpdate, Message
from nnray.federated.weights import Slot
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.setting import build_flat, make_setting
from tests.conftest import ROOT
from tests.unit.data.table_files import write_ratings
from tests.unit.runners.federated.small import Ran, experiment

USERS = 12
Sent = tuple[int, Tensor, Message]
"""Whose it is, the change that was learnt, and what is sent of it."""
PERSONAL = {
    job: require_federated(load(ROOT / "jobs" / f"{job}.yaml")).strategy.kwargs["personal"]
    for job in ("movielens", "movielens_ranking")
}
every_job = pytest.mark.parametrize("job", sorted(PERSONAL))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ratings of twelve users, and no plots."""
    write_ratings(tmp_path / "movielens", users=USERS)
    monkeypatch.setattr(Ending, "_log_curve", lambda self: None)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """All that leaves clients, as it is sent."""
    seen: list[Sent] = []
    for kind in (FedPer, FedAvg):
        monkeypatch.setattr(kind, "message", heard(kind.message, seen))
    return seen


def heard(plain: Callable[..., Message], seen: list[Sent]) -> Callable[..., Message]:
    """The same, that writes down what is sent."""

    def message(strategy: FedAvg, update: ClientUpdate, **told: Any) -> Message:
        made = plain(strategy, update, **told)
        seen.append((update.client, update.delta.clone(), made))
        return made

    return message


def job_of(name: str, tmp_path: Path, *, strategy: Any) -> Experiment:
    """The job in small: all users in each round."""
    job = load(ROOT / "jobs" / f"{name}.yaml")
    return experiment(
        {
            "clients": None,
            "cohort": None,
            "fraction_fit": 1.0,
            "partition": "natural",
            "rounds": 2,
            "strategy": strategy,
        },
        data={"name": name, "root": str(tmp_path)},
        model={"name": "matrix_factorization", "width": 3},
        task={"name": job.task.name, **job.task.kwargs},
        optimizer={"name": "sgd", "lr": 0.5},
    )


def user_slots(made: Experiment) -> list[Slot]:
    """Where users' rows stand in what would be sent."""
    flat = build_flat(make_setting(made, load_data(made)))
    return [slot for slot in flat.slots if slot.name.startswith("net.user.")]


def row_of(client: int) -> int:
    """The code of the user that a client is: codes go by name as clients do, 0 is nobody's."""
    return client + 1


@every_job
def test_what_is_sent_holds_no_row_of_a_user(job: str, tmp_path: Path, sent: list[Sent]) -> None:
    made = job_of(job, tmp_path, strategy={"name": "fedper", "personal": PERSONAL[job]})
    Ran(made).go()
    users = user_slots(made)
    assert users and len(sent) == 2 * USERS
    for client, learnt, message in sent:
        assert any(slot.of(learnt)[row_of(client)].any() for slot in users), "its own row has changed"
        vector = message.vectors["delta"].value
        assert not any(slot.of(vector).any() for slot in users), "and isn't sent"
        assert vector.any(), "what is learnt of films is"
        assert message.num_bytes == 4 * (len(vector) - sum(slot.size for slot in users))
        assert message.vectors.keys() == {"delta"} and not message.numbers


@every_job
def test_one_model_for_all_would_send_the_row(job: str, tmp_path: Path, sent: list[Sent]) -> None:
    """So the law above could fail."""
    made = job_of(job, tmp_path, strategy="fedavg")
    Ran(made).go()
    users = user_slots(made)
    for client, _, message in sent:
        vector = message.vectors["delta"].value
        assert any(slot.of(vector)[row_of(client)].any() for slot in users)


@every_job
def test_a_client_goes_on_from_its_own_row(job: str, tmp_path: Path, sent: list[Sent]) -> None:
    """What it keeps after a round is what it began with and what it has learnt."""
    made = job_of(job, tmp_path, strategy={"name": "fedper", "personal": PERSONAL[job]})
    Ran(made).go()
    learnt: dict[int, list[Sent]] = {}
    for one in sent:
        learnt.setdefault(one[0], []).append(one)
    users = user_slots(made)
    for first, second in learnt.values():
        change = torch.cat([slot.of(second[1]).flatten() for slot in users])
        torch.testing.assert_close(second[2].kept["own"] - first[2].kept["own"], change, rtol=0, atol=1e-6)
