"""Secure sums on Ray actors: workers answer for clients, and who takes over from a lost one says the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from nnray.assembly import load_data
from nnray.federated.outcome import Failed, RoundStart
from nnray.runners.federated.crew import Alone, Arguments
from nnray.runners.federated.masking import Masked
from nnray.runners.federated.pool import Pool
from nnray.runners.federated.setting import first_weights, make_setting
from tests.unit.runners.federated.small import FAULTS, experiment, ran

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
PLAIN = {"clients": 6, "cohort": 6, "partition": "iid", "rounds": 2, "on_client_error": "drop"}
SECURE = {**PLAIN, "secure": {}, "cpus_per_worker": 0.5}


def breaks(how: str, **options: Any) -> dict[str, Any]:
    return {"name": f"{FAULTS}breaks", "how": how, "clients": [4], **options}


def test_two_workers_of_which_one_is_killed_come_to_the_plain_bits(tmp_path: Path) -> None:
    _, expected = ran(PLAIN)
    killing = breaks("kill", once=str(tmp_path / "killed"))
    run, result = ran({**SECURE, "strategy": killing, "workers": 2})
    assert (tmp_path / "killed").exists()
    assert result.model_sha256 == expected.model_sha256
    assert "was lost" in result.faults[0]
    assert [record.metrics["failures"] for record in run.history] == [0, 0]


def test_a_client_that_kills_every_worker_has_dropped_out() -> None:
    _, expected = ran({**PLAIN, "rounds": 1, "strategy": breaks("raise")})
    run, result = ran({**SECURE, "rounds": 1, "strategy": breaks("kill"), "workers": 2})
    assert result.model_sha256 == expected.model_sha256
    (failure,) = run.history[0].failures
    assert (failure["client"], failure["fate"]) == (4, "dropped")


class Killing(Pool):
    """All of its actors are killed before a stage of a secure sum, so that others go on with it."""

    before = ""

    def ask(self, method: str, clients: Sequence[int], make: Arguments) -> list[tuple[int, Any] | Failed]:
        if method == self.before:
            for actor in self._actors:
                ray.kill(actor)
        return super().ask(method, clients, make)


@pytest.mark.parametrize("method", ["secure_shares", "secure_reveal"])
def test_workers_that_take_over_at_any_stage_send_the_same(method: str) -> None:
    made, lost = experiment(SECURE), list[str]()
    setting = make_setting(made, load_data(made))
    start, clients = RoundStart(round=1, weights=first_weights(setting), room=6), list(range(6))
    expected = Alone(setting).train(start, clients, {}).sums
    options: dict[str, Any] = {"cpus": 0.5, "gpus": 0.0, "deadline_s": None, "search": []}
    with Killing(setting, workers=2, on_fault=lost.append, **options) as pool:
        pool.before = method
        found = Masked(pool, setting).train(start, clients, {})
    assert len(lost) == 2
    assert found.failures == ()
    assert found.sums.vectors["delta"].total.equal(expected.vectors["delta"].total)
    assert found.sums.vectors["delta"].weight == expected.vectors["delta"].weight
